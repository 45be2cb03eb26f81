#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bf16.h"

namespace headscope {

/// A strided view of f32 rows [batch, heads, rows, dim]; the last dimension is contiguous. Strides count
/// elements, not bytes. Does not own its memory.
template <class T>
struct Rows {
  T* data = nullptr;
  int64_t batch_stride = 0;
  int64_t head_stride = 0;
  int64_t row_stride = 0;

  T* row(int64_t batch, int64_t head, int64_t row) const {
    return data + batch * batch_stride + head * head_stride + row * row_stride;
  }
};

enum class Element { f32, bf16 };

constexpr int64_t bytes_of(Element element) { return element == Element::f32 ? 4 : 2; }

/// Rows that are only read, [batch, heads, rows, dim], f32 or bf16 (the upper half of an f32), as a view like Rows.
/// bf16 rows need no more than the alignment of 16-bit numbers.
struct InputRows {
  const void* data = nullptr;
  int64_t batch_stride = 0;
  int64_t head_stride = 0;
  int64_t row_stride = 0;
  Element element = Element::f32;

  InputRows() = default;
  InputRows(const float* rows, int64_t batch, int64_t head, int64_t row)
      : data(rows), batch_stride(batch), head_stride(head), row_stride(row) {}
  InputRows(const uint16_t* rows, int64_t batch, int64_t head, int64_t row)
      : data(rows), batch_stride(batch), head_stride(head), row_stride(row), element(Element::bf16) {}
  InputRows(const void* rows, int64_t batch, int64_t head, int64_t row, Element of)
      : data(rows), batch_stride(batch), head_stride(head), row_stride(row), element(of) {}

  /// T is what `element` says: float or uint16_t.
  template <class T = float>
  const T* row(int64_t batch, int64_t head, int64_t row) const {
    return static_cast<const T*>(data) + batch * batch_stride + head * head_stride + row * row_stride;
  }
  /// The same rows from row `first` on and, of each, from dimension `dim` on.
  InputRows from(int64_t first, int64_t dim = 0) const {
    InputRows rest = *this;
    rest.data = static_cast<const std::byte*>(data) + (first * row_stride + dim) * bytes_of(element);
    return rest;
  }
  /// One number, widened.
  float at(int64_t batch, int64_t head, int64_t row_index, int64_t dim) const {
    if (element == Element::f32) return row(batch, head, row_index)[dim];
    return from_bf16(row<uint16_t>(batch, head, row_index)[dim]);
  }
  bool operator==(const InputRows&) const = default;
};

enum class RotationStyle {
  rotate_half,  ///< pairs (j, j + dims/2): Llama, NeoX, Falcon, ... in Hugging Face layout
  interleaved,  ///< pairs (2j, 2j + 1): DeepSeek's rope part, llama2.c
};

/// Keys that are rotated while they are read: those stored before rope, and values that serve as keys (SharedKV: k
/// points to the rows of v). The dimensions (x, y) of a pair become (x c - y s, y c + x s), where c and s are the
/// pair's cosine and sine at the position of the key, and f32 again: kernels round products and sums, the reference
/// once.
struct KeyRotation {
  /// [pairs][stride], column j for the key at position j, counted from 0 as everywhere, whatever first_key is. A factor
  /// of the rotation (yarn's) is in both. Null: keys are read as they are.
  const float* cosines = nullptr;
  const float* sines = nullptr;
  int64_t stride = 0;  ///< at least kv_len. A multiple of 4 KiB is slow: caches hold few lines that lie so
  int64_t pairs = 0;
  int64_t first_dim = 0;  ///< dimensions before it, and those from first_dim + 2 * pairs on, are not rotated
  RotationStyle style = RotationStyle::rotate_half;  ///< of the dimensions from first_dim on; dims = 2 * pairs

  /// Where a pair's first dimension lies, and how far behind it the second.
  int64_t dim_of(int64_t pair) const { return first_dim + (style == RotationStyle::rotate_half ? pair : 2 * pair); }
  int64_t partner() const { return style == RotationStyle::rotate_half ? pairs : 1; }
  bool operator==(const KeyRotation&) const = default;
};

/// Lengths of a problem in the memory of a device, which its kernels read when they run: for work that is given to the
/// device once and done for many lengths (a CUDA graph).
struct ProblemLengths {
  int64_t kv_len = 0;
  int64_t causal_offset = 0;
};

/// One attention call, as plain data. Query head h reads KV head h / (q_heads / kv_heads).
///
/// score(i, j) = cap(scale * <q_i, k_j>) + alibi_slope_h * j + key_log_weight_hj, where
/// cap(x) = soft_cap * tanh(x / soft_cap) when soft_cap > 0. The attention row i is the softmax of its scores
/// over the visible keys. With position p = i + causal_offset, key j is visible when
/// (not causal or j <= p) and (window == 0 or j > p - window) and j >= first_key: a window of W shows W keys, itself
/// counted. Keys are counted from 0 whatever first_key is, in statistics, tiles and log weights too.
struct AttentionProblem {
  int64_t batch = 1;
  int64_t q_heads = 0;
  int64_t kv_heads = 0;
  int64_t q_len = 0;
  int64_t kv_len = 0;
  int64_t first_key = 0;  ///< keys before it are in no memory and no row sees them: rows of k and v start with it
  int64_t key_dim = 0;
  int64_t value_dim = 0;
  InputRows q;  ///< [batch, q_heads, q_len, key_dim]
  InputRows k;  ///< [batch, kv_heads, kv_len - first_key, key_dim]
  InputRows v;  ///< [batch, kv_heads, kv_len - first_key, value_dim]
  float scale = 1;
  bool causal = true;
  int64_t causal_offset = 0;              ///< position of query row 0 among the keys
  int64_t window = 0;                     ///< 0: all earlier keys
  float soft_cap = 0;                     ///< 0: none
  const float* alibi_slopes = nullptr;    ///< [q_heads] or null; multiplies the key position j
  const float* key_log_weight = nullptr;  ///< [q_heads, kv_len] or null; may hold -inf (key never visible)
  KeyRotation key_rotation;
  /// Null, or what kernels take instead of kv_len and causal_offset, which then are the most that it may ever hold; k,
  /// v and angles need hold no more than it says. Rows of key_log_weight are the kv_len that it holds apart. For
  /// `forward` of CUDA's kernels, without raw scores: with them, and in other operations, these throw
  /// std::invalid_argument before anything is started. Kernels of the CPU do not support it.
  const ProblemLengths* lengths = nullptr;

  bool operator==(const AttentionProblem&) const = default;
};

/// Statistics of every attention row, f32, each [batch, q_heads, q_len] or null when not wanted.
/// A row with no visible key has entropy 0, max 0, argmax -1, distance 0, variance 0, sink 0, window 0.
struct RowStatistics {
  float* entropy = nullptr;            ///< -sum p ln p, nats
  float* max = nullptr;                ///< largest weight
  int32_t* argmax = nullptr;           ///< its key; the lowest index wins a tie
  float* distance = nullptr;           ///< sum p (position - j), tokens
  float* distance_variance = nullptr;  ///< sum p (position - j - distance)^2, tokens^2
  float* sink = nullptr;               ///< weight on keys [0, sink_tokens)
  /// Weight on the nearest window_tokens keys, (position - window_tokens, position], itself counted. It hides no key,
  /// unlike AttentionProblem::window, the mask.
  float* window = nullptr;
  int64_t sink_tokens = 1;
  int64_t window_tokens = 16;
};

/// Pooled maps of all heads, made in the forward pass: cell (r, c) of a head covers query positions
/// [r * bin, (r + 1) * bin) and keys [c * bin, (c + 1) * bin). `max` holds the largest weight of a cell, `sum` the
/// weights of all its places. The caller clears them before the first chunk of a prompt; each call raises, or adds to,
/// the cells that its rows touch, so chunks add up. A row whose log-sum-exp is NaN makes NaN (`sum_of_nan`, or anything
/// negative) of every cell that holds a key it sees, and that stays.
struct Thumbnails {
  static constexpr int64_t max_cells = 1024;
  /// Sums are whole numbers, so that they do not depend on the order of adding; one row adds at most 1.
  static constexpr double sum_unit = 1.0 / (1 << 30);
  static constexpr int64_t sum_of_nan = INT64_MIN;

  float* max = nullptr;    ///< [batch, q_heads, cells, cells] or null
  int64_t cells = 64;      ///< at most max_cells
  int64_t bin = 1;         ///< tokens a cell; positions beyond cells * bin are not recorded
  int64_t* sum = nullptr;  ///< [batch, q_heads, cells, cells] in sum_unit, or null
};

/// What a call writes. Any pointer may be null; `row_max` and `log_sum` come together.
/// The log-sum-exp of a row is row_max + log_sum (nats), kept as two floats because one float cannot hold
/// scores of 1e4 exactly enough; their sum stays exact when row_max itself had to be rounded. An empty row has
/// out 0, row_max -inf, log_sum 0.
struct AttentionOutput {
  Rows<float> out;           ///< [batch, q_heads, q_len, value_dim]
  float* row_max = nullptr;  ///< [batch, q_heads, q_len], largest score of the row
  float* log_sum = nullptr;  ///< [batch, q_heads, q_len], ln sum exp(score - row_max)
  RowStatistics statistics;
  Thumbnails thumbnails;
  /// [batch, q_heads, q_len, kv_len]: the score of every key as the softmax takes it (AttentionProblem), -inf where a
  /// row does not see the key, before first_key too. For a few rows: nothing else that a forward pass writes grows so.
  Rows<float> scores;
};

enum class Pooling { mean, max };

/// A rectangle of one head's map, recomputed from Q, K and the log-sum-exp:
/// cell (r, c) pools query rows [row_begin + r * bin, ...) and keys [key_begin + c * bin, ...), cut at the
/// ends of the ranges. Mean divides by the number of (row, key) places in the cell, masked ones counted as 0,
/// so the cells of a row times their widths add up to 1. Row indices are those of `problem.q`. A row whose
/// log-sum-exp is NaN makes NaN of every cell that holds a key it sees, with both poolings.
struct TileRequest {
  int64_t batch = 0;
  int64_t q_head = 0;
  int64_t row_begin = 0, row_end = 0;
  int64_t key_begin = 0, key_end = 0;
  int64_t bin = 1;  ///< tokens a cell in both directions
  Pooling pooling = Pooling::max;

  int64_t rows() const { return (row_end - row_begin + bin - 1) / bin; }
  int64_t columns() const { return (key_end - key_begin + bin - 1) / bin; }
};

}  // namespace headscope
