#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/progress.h"
#include "core/model/model.h"

namespace headscope {

/// Several sequences of one model that go on together, one token each a step, with nothing kept for viewers: what a
/// server does, for measurements. Linear layers take all sequences at once; attention reads each one's own cache.
/// One thread owns it (it calls LibTorch).
class Decoder {
 public:
  /// Caches start with room for `first_capacity` tokens each. Where the device records, it repeats steps as recorded
  /// work, unless `recorded` is false, for comparisons. Throws Error for fewer than one sequence.
  Decoder(std::shared_ptr<const Model>, int64_t sequences, int64_t first_capacity, bool recorded = true);
  ~Decoder();

  /// Forwards a prompt through the first sequence and gives the others copies of its cache. Once, and first.
  /// Throws Error beyond the context or the vocabulary, Cancelled between layers, and is of no use then.
  void prefill(std::span<const int32_t> ids, const Progress& = {});
  /// Forwards one token of each sequence and returns the likeliest next ones. Where it throws, nothing was added.
  std::vector<int32_t> step(std::span<const int32_t> ids);

  int64_t sequences() const;
  int64_t tokens() const;  ///< of each sequence
  /// Of all caches, read from their storage.
  int64_t kv_used_bytes() const;
  int64_t kv_allocated_bytes() const;
  int64_t kv_peak_bytes() const;  ///< the largest allocation so far, copies of growing buffers included
  /// By formula, bytes of the caches that the last step had to read: each layer the rows of its owner that its window
  /// shows. Keys are rotated while they are read; values that are made from keys are made in memory beside the cache.
  int64_t kv_read_bytes() const;
  int64_t recorded_steps() const;  ///< steps that were a repetition of recorded work
  std::string kernel() const;      ///< names of the attention kernels that ran

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace headscope
