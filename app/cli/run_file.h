#pragma once

#include <filesystem>
#include <set>
#include <string>

#include "core/base/progress.h"
#include "core/run/generate.h"
#include "core/run/run.h"
#include "kernels/parallel.h"

namespace headscope::cli {

/// Parts of a run that can be saved: logits, attention, stats, q, k, v, lse, kv ("qk" is q and k).
std::set<std::string> parse_save_list(const std::string& list);

/// Throws Error, with both numbers, when the disk has no room for the parts of a run of `options.expected_tokens`.
void check_disk(const Architecture&, const RunOptions& options, const std::set<std::string>& parts,
                const std::filesystem::path& path);

/// Writes the parts into an HDF5 file with the names and shapes of docs/formats.md, atomically. The snapshot is the
/// run's newest.
void write_run_file(const Run&, const RunSnapshot&, const std::set<std::string>& parts, const SamplingOptions&,
                    const std::filesystem::path& path, const ParallelFor&, const Progress&);

}  // namespace headscope::cli
