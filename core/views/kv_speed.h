#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/views/kv_compare.h"

namespace headscope {

/// One subject's caches as they were allocated and decoded from, at one batch and context; medians of several times.
struct KvSpeedRow {
  size_t subject = 0;
  int64_t batch = 0, context = 0;
  int64_t formula = 0;              ///< bytes of kv_bytes, as wide as what was measured
  int64_t used = 0;                 ///< bytes of written rows
  int64_t allocated = 0;            ///< bytes of the storage
  int64_t peak = 0;                 ///< bytes of the largest allocation on the way
  int64_t growth = 0;               ///< bytes that the process grew by
  int64_t most_growth = 0;          ///< the same at its peak
  int64_t read = 0;                 ///< bytes of the caches that a decode step has to read, by formula
  double prefill = 0;               ///< tokens a second, of one sequence
  double decode = 0;                ///< tokens a second, of all sequences
  double slowest = 0, fastest = 0;  ///< of the times that it was measured
  double step_ms = 0;               ///< of one decode step
  bool too_short = false;           ///< to show an effect of the cache
  /// Sequences of this context that stay below a limit of memory, where one was given; 0: not even one.
  std::optional<int64_t> largest_batch = {};
};

struct KvSpeedData {
  std::vector<KvSubject> subjects;
  std::vector<KvSpeedRow> rows;
  std::vector<std::string> weights;  ///< by subject: "random" or "checkpoint"
  std::vector<std::string> dtypes;   ///< by subject, of weights and cache: "f32" or "bf16"
  std::vector<std::string> kernels;  ///< by subject
  int64_t repeats = 1;               ///< times that each row was measured
  int64_t threads = 1;
  std::vector<std::string> notes;  ///< "cpu, 2 threads, f32", "random weights"
};

/// Measured decode speed as lines over batch, at the largest context, or over context where there is one batch. The
/// table has all rows. Regions "kv/subject/<i>/<point>". Throws Error for no rows, and for a single point.
Figure kv_speed(const KvSpeedData&, const Layout&);

/// All rows with what was measured.
Table kv_speed_table(const KvSpeedData&);

}  // namespace headscope
