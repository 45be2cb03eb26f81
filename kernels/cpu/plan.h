#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/attention.h"

namespace headscope::cpu {

// How the CPU kernels cut the work. What happens to a row depends neither on the number of workers nor on the chunk of
// the prompt, so neither do the results: a row sees the same key blocks, in the same order, whatever rows its task has.

inline constexpr int64_t panel_rows = 6;    ///< query rows of one register tile
inline constexpr int64_t chunk_rows = 192;  ///< query rows whose scores are in work at once, a multiple of panel_rows
inline constexpr int64_t task_rows = 4 * chunk_rows;  ///< most query rows of one task, which packs keys and values once
inline constexpr int64_t block_keys = 256;            ///< keys of one block; blocks start at its multiples
/// Keys of one split, a multiple of block_keys: the sums of a row start anew at its multiples and are folded into those
/// of earlier splits, so that splits of one row may be computed side by side.
inline constexpr int64_t split_keys = 1024;

/// A problem, and how its products are computed.
struct CpuProblem : AttentionProblem {
  bool pairs = false;  ///< bf16 are multiplied two by two, weights rounded to bf16; else they are widened to f32
};

/// Keys [begin, end).
struct KeyRange {
  int64_t begin = 0;
  int64_t end = 0;

  bool empty() const { return begin >= end; }

  KeyRange intersect(const KeyRange& other) const { return {std::max(begin, other.begin), std::min(end, other.end)}; }
  void unite(const KeyRange& other) {
    if (other.empty()) return;
    *this = empty() ? other : KeyRange{std::min(begin, other.begin), std::max(end, other.end)};
  }
  /// Columns of a block that starts at `first`.
  KeyRange within_block(int64_t first) const {
    return {std::clamp(begin - first, int64_t{0}, block_keys), std::clamp(end - first, int64_t{0}, block_keys)};
  }
};

/// Causal bound, window and first key leave one range of keys to each row; key_log_weight may hide more within it.
inline KeyRange visible_keys(const CpuProblem& p, int64_t row) {
  const int64_t position = row + p.causal_offset;
  KeyRange keys{p.first_key, p.kv_len};
  if (p.causal) keys.end = std::min(keys.end, position + 1);
  if (p.window > 0) keys.begin = std::max(keys.begin, position - p.window + 1);
  return keys.empty() ? KeyRange{} : keys;
}

/// One query row of a task.
struct QueryRow {
  int64_t head = 0;
  int64_t row = 0;
  int64_t position = 0;
  KeyRange keys;
  float slope = 0;                    ///< ALiBi
  const float* log_weight = nullptr;  ///< [kv_len] or null

  /// Whether a key of `keys` is visible.
  bool sees(int64_t key) const { return !log_weight || log_weight[key] != -std::numeric_limits<float>::infinity(); }
};

inline QueryRow query_row(const CpuProblem& p, int64_t head, int64_t row) {
  return {head,
          row,
          row + p.causal_offset,
          visible_keys(p, row),
          p.alibi_slopes ? p.alibi_slopes[head] : 0.0F,
          p.key_log_weight ? p.key_log_weight + head * p.kv_len : nullptr};
}

/// A task is up to task_rows query rows that read one KV head: a run of rows of one query head, and where the
/// runs are short (decoding) those of its neighbours too, so that K and V are read once for the group.
struct Task {
  int64_t batch, kv_head, first_head, heads, first_row, rows;
  int64_t split;  ///< the one that it computes; -1: all
  int64_t count() const { return heads * rows; }
};

class ForwardPlan {
 public:
  ForwardPlan(const CpuProblem& p, int workers)
      : group_(p.q_heads / p.kv_heads),
        kv_heads_(p.kv_heads),
        q_len_(p.q_len),
        rows_(std::clamp<int64_t>(p.q_len, 1, rows_for(p, workers))),
        row_blocks_((p.q_len + rows_ - 1) / rows_),
        parts_((group_ + task_rows / rows_ - 1) / (task_rows / rows_)),
        heads_((group_ + parts_ - 1) / parts_),
        columns_(p.batch * p.kv_heads * parts_) {
    if (shares_rows(p)) cut_keys(p);
  }

  int64_t tasks() const { return row_blocks_ * columns_ * splits_; }
  /// Above 1, each task computes one split of its rows, and somebody has to fold them.
  int64_t splits() const { return splits_; }

  /// Tasks that read the same keys follow each other; of these, the last rows come first, because under a causal mask
  /// they see the most keys.
  Task task(int64_t index) const {
    const int64_t split = splits_ > 1 ? first_split_ + index % splits_ : -1;
    const int64_t block = row_blocks_ - 1 - index / splits_ % row_blocks_, column = index / splits_ / row_blocks_;
    const int64_t part = column % parts_, kv_head = column / parts_ % kv_heads_;
    const int64_t first = part * heads_, first_row = block * rows_;
    return {column / parts_ / kv_heads_,
            kv_head,
            kv_head * group_ + first,
            std::min(heads_, group_ - first),
            first_row,
            std::min(rows_, q_len_ - first_row),
            split};
  }

 private:
  /// Many rows of a task save packing; enough tasks keep all workers busy.
  static int64_t rows_for(const CpuProblem& p, int workers) {
    int64_t rows = task_rows;
    while (rows > chunk_rows && p.batch * p.q_heads * ((p.q_len + rows - 1) / rows) < 8 * workers) rows /= 2;
    return rows;
  }
  /// A few rows against many keys are too few tasks for many workers. Whether they are cut does not depend on how many
  /// there are: each split needs memory for its sums.
  bool shares_rows(const CpuProblem& p) const {
    constexpr int64_t few_rows = 8, enough_tasks = 64, most_rows = 512;
    return q_len_ <= few_rows && columns_ < enough_tasks && p.batch * p.q_heads * q_len_ <= most_rows;
  }
  void cut_keys(const CpuProblem& p) {
    KeyRange all;
    for (int64_t row = 0; row < p.q_len; ++row) all.unite(visible_keys(p, row));
    if (all.empty()) return;
    first_split_ = all.begin / split_keys;
    splits_ = (all.end - 1) / split_keys + 1 - first_split_;
  }

  int64_t group_, kv_heads_, q_len_;
  int64_t rows_;        ///< rows of one head in a task
  int64_t row_blocks_;  ///< runs of rows a head is cut into
  int64_t parts_;       ///< tasks that share the group of a KV head
  int64_t heads_;       ///< query heads of one part; the last may have fewer
  int64_t columns_;
  int64_t first_split_ = 0, splits_ = 1;
};

/// Hands out aligned pieces of a workspace; without one it only counts.
class Carver {
 public:
  explicit Carver(std::byte* base = nullptr) : base_(base) {}

  template <class T>
  T* take(int64_t count) {
    T* piece = base_ ? reinterpret_cast<T*>(base_ + bytes_) : nullptr;
    bytes_ += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return piece;
  }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* base_;
  size_t bytes_ = 0;
};

}  // namespace headscope::cpu
