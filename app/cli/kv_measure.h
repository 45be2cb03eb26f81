#pragma once

#include <optional>
#include <string>
#include <vector>

#include "app/cli/command.h"
#include "core/io/json.h"
#include "core/views/kv_speed.h"

namespace headscope::cli {

/// A model to measure: the checkpoint it comes from, or nothing, then its weights are random.
struct MeasureSubject {
  KvSubject subject;
  std::string checkpoint;  ///< path, or empty
};

struct MeasureOptions {
  std::vector<int64_t> batches, contexts;
  int64_t repeats = 3;
  int64_t steps = 16;                   ///< tokens that are decoded in each measurement
  std::optional<int64_t> memory_limit;  ///< bytes
  std::string memory_limit_text;        ///< as it was given
};

/// The largest batch whose process stays below a limit.
struct LargestBatch {
  size_t subject = 0;
  int64_t context = 0;
  int64_t batch = 0;     ///< 0: not even one sequence
  int64_t resident = 0;  ///< bytes at its peak of a process with this model and that batch alone
};

struct Measured {
  KvSpeedData speed;
  std::vector<LargestBatch> largest;
  MeasureOptions options;
};

/// Loads every model, decodes from caches of every batch and context in turn, several times over, and keeps the
/// medians. Throws Error for what does not fit a model or the machine.
Measured measure(const std::vector<MeasureSubject>&, const MeasureOptions&, Context&);

/// The measured part of each object that `kv` prints: rows in the order of kv_compare_rows.
Json measured_json(const Measured&, size_t row);
std::string measured_text(const Measured&);

}  // namespace headscope::cli
