#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/data/run_snapshot.h"
#include "core/model/model.h"
#include "kernels/parallel.h"

namespace headscope::cli {

struct Check {
  std::string name;
  bool passed = false;
  std::string detail;
};

/// What `verify` has looked at. The last two say in phrases what follows if all checks passed, and what does not.
struct Findings {
  std::vector<Check> checks;
  std::vector<std::string> proved, not_proved;
};

/// Every kernel of this machine on random numbers, beside the reference in double.
void check_kernels(const ParallelFor&, Findings&);

/// Weights, log-sum-exp and statistics of a run, every head of every layer, beside what the reference kernel makes of
/// the same queries and keys.
void check_maps(const RunSnapshot&, const ParallelFor&, Findings&);

/// Slim attention: how far the rounding of stored keys grows in the values that are made from them. Adds nothing for
/// other models.
void check_keys(const Model&, const Progress&, Findings&);

/// The numbers that were published for a model of this shape: parameters, KV bytes as `run` has them in its cache,
/// token ids. The name of `path` is a claim: it fails when the shape is another. Says so when nothing is known.
void check_published(const std::filesystem::path& path, const Model&, const RunSnapshot& run, Findings&);

/// Takes over the larger; NaN counts as infinite and stays.
void raise(double& worst, double value);

}  // namespace headscope::cli
