#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/progress.h"
#include "core/model/model.h"

namespace headscope {

/// What to measure: `batch` sequences that hold `context` tokens each in the end.
struct KvLoad {
  int64_t batch = 1;
  int64_t context = 1024;
  int64_t steps = 16;  ///< the last tokens, which are decoded; the others are a prompt
};

/// Caches that were allocated and decoded from, once.
struct KvMeasurement {
  int64_t formula_bytes = 0;      ///< kv_bytes of architecture.h
  int64_t used_bytes = 0;         ///< of written rows, read from the storage
  int64_t allocated_bytes = 0;    ///< of the storage
  int64_t peak_bytes = 0;         ///< the largest allocation on the way
  int64_t growth_bytes = 0;       ///< of the process's resident memory, from before the caches to behind the last step
  int64_t most_growth_bytes = 0;  ///< the same at its peak, with what prompt and steps need beside the caches
  int64_t read_bytes = 0;         ///< of the caches that the last step had to read, by formula
  int64_t prompt_tokens = 0;      ///< that were really forwarded: those of one sequence; the others' caches are copies
  double prefill_seconds = 0;
  double step_seconds = 0;  ///< the median of the steps, the first left out
  std::string kernel;       ///< names of the attention kernels
};

/// Allocates the caches, forwards a prompt, decodes, measures. Tokens are arbitrary: neither sizes nor speeds depend on
/// them. Throws Error for loads that do not fit the model, Cancelled between steps.
KvMeasurement measure_kv(const std::shared_ptr<const Model>&, const KvLoad&, const Progress& = {});

/// Measures one of several models, by its place among them.
using MeasureKv = std::function<KvMeasurement(size_t model, const KvLoad&)>;

/// Several models, measured in turns.
struct KvComparison {
  int64_t resident_bytes = 0;                    ///< of this process, warmed up, before the first that counts
  std::vector<std::vector<KvMeasurement>> rows;  ///< [load * models + model], of each its repeats
};

/// Warms up every model with a load that fits below all of `loads` and does not count. Then models take turns at every
/// load, and loads in every repeat, so that a slow moment of the machine meets all of them alike.
KvComparison measure_in_turns(size_t models, std::span<const KvLoad> loads, int64_t repeats, const MeasureKv&);

/// Of an even number of values the mean of the two in the middle; there is at least one.
double median(std::vector<double> values);

/// Below so many tokens in the cache, weights and launches hide what the cache costs.
inline constexpr int64_t fewest_telling_tokens = 256;

}  // namespace headscope
