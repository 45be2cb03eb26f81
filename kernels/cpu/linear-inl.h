// Linear layers of many tokens, compiled once per vector target.
//
// A task is block_rows weight rows times some tokens. It packs its weights block by block, block_rows x block_words of
// 32 bits each, which stay in the second-level cache (L2); six tokens at a time, whose words stay in L1, are then
// multiplied with every panel of them. A result is one chain of multiply-adds for each block of columns, and these are
// added, which is also more exact than one long chain.
#if defined(HEADSCOPE_LINEAR_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_LINEAR_INL
#undef HEADSCOPE_LINEAR_INL
#else
#define HEADSCOPE_LINEAR_INL
#endif

#include <algorithm>
#include <cstring>

#include "hwy/cache_control.h"
#include "kernels/cpu/linear_few-inl.h"
#include "kernels/cpu/pack-inl.h"
#include "kernels/cpu/pairs_avx512bf16.h"
#include "kernels/linear.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

inline constexpr int64_t block_rows = 192;   ///< a multiple of every tile_width
inline constexpr int64_t block_words = 768;  ///< a word is 32 bits: one f32, or two bf16 of neighbouring columns

/// Words of up to panel_rows tokens, `stride` apart, and the columns of x that come after them, which are fetched
/// meanwhile: their rows are too far apart for the processor to foresee them.
struct TokenRows {
  const float* words;
  int64_t stride, count;
  const float* next;
  int64_t next_stride;
};
inline constexpr int64_t words_of_line = 16;

/// result[token] += sum over words, in order, of left[token][word] * right[word], for up to kTokens tokens; the last
/// one stands in for those that are missing. `right` is [words][tile_width], `result` [panel_rows][tile_width].
template <int kTokens>
HWY_NOINLINE void multiply_tokens(const TokenRows& left, const float* HWY_RESTRICT right, int64_t words,
                                  float* HWY_RESTRICT result) {
  const auto token = [&](int64_t t) { return left.words + std::min(t, left.count - 1) * left.stride; };
  const float *x0 = token(0), *x1 = token(1), *x2 = token(2), *x3 = token(3), *x4 = token(4), *x5 = token(5);
  TileRow<tile_vectors> r0, r1, r2, r3, r4, r5;
  r0.load(result);
  if constexpr (kTokens > 1) r1.load(result + tile_width);
  if constexpr (kTokens > 2) r2.load(result + 2 * tile_width);
  if constexpr (kTokens > 3) r3.load(result + 3 * tile_width);
  if constexpr (kTokens > 4) r4.load(result + 4 * tile_width);
  if constexpr (kTokens > 5) r5.load(result + 5 * tile_width);
  for (int64_t begin = 0; begin < words; begin += words_of_line) {
    const int64_t end = std::min(words, begin + words_of_line);
    for (int64_t t = 0; t < kTokens; ++t) hwy::Prefetch(left.next + t * left.next_stride + begin);
    for (int64_t word = begin; word < end; ++word) {
      TileRow<tile_vectors> b;
      b.load(right + word * tile_width);
      r0.add(x0[word], b);
      if constexpr (kTokens > 1) r1.add(x1[word], b);
      if constexpr (kTokens > 2) r2.add(x2[word], b);
      if constexpr (kTokens > 3) r3.add(x3[word], b);
      if constexpr (kTokens > 4) r4.add(x4[word], b);
      if constexpr (kTokens > 5) r5.add(x5[word], b);
    }
  }
  r0.store(result);
  if constexpr (kTokens > 1) r1.store(result + tile_width);
  if constexpr (kTokens > 2) r2.store(result + 2 * tile_width);
  if constexpr (kTokens > 3) r3.store(result + 3 * tile_width);
  if constexpr (kTokens > 4) r4.store(result + 4 * tile_width);
  if constexpr (kTokens > 5) r5.store(result + 5 * tile_width);
}

/// f32 weights, used where they lie.
struct F32Format {
  static constexpr int64_t columns_per_word = 1;

  static WordRows rows(const LinearProblem& p, int64_t row, int64_t, int64_t column, int64_t columns, float*) {
    return WordRows::of(p.weights + row * p.row_stride + column, p.row_stride, columns);
  }
  static TokenRows tokens(const float* x, int64_t stride, int64_t count, int64_t, float*) {
    return {x, stride, count, nullptr, 0};
  }
  static HWY_INLINE void multiply(const TokenRows& left, const float* right, int64_t words, float* result) {
    if (left.count > 4) return multiply_tokens<6>(left, right, words, result);
    if (left.count > 2) return multiply_tokens<4>(left, right, words, result);
    if (left.count > 1) return multiply_tokens<2>(left, right, words, result);
    multiply_tokens<1>(left, right, words, result);
  }
};

/// bf16 weights, widened into `scratch` [tile_width][block_words].
struct WidenedFormat : F32Format {
  static HWY_INLINE WordRows rows(const LinearProblem& p, int64_t row, int64_t count, int64_t column, int64_t columns,
                                  float* scratch) {
    const F d;
    for (int64_t r = 0; r < count; ++r) {
      const uint16_t* from = p.bf16_weights + (row + r) * p.row_stride + column;
      float* to = scratch + r * block_words;
      int64_t c = 0;
      for (; c + lanes <= columns; c += lanes) hn::Store(widened(from + c), d, to + c);
      for (; c < columns; ++c) to[c] = widened_one(from[c]);
    }
    return WordRows::of(scratch, block_words, columns);
  }
};

/// bf16 weights in pairs, multiplied with tokens that are rounded to bf16.
struct PairFormat {
  static constexpr int64_t columns_per_word = 2;

  static WordRows rows(const LinearProblem& p, int64_t row, int64_t count, int64_t column, int64_t columns,
                       float* scratch) {
    for (int64_t r = 0; r < count; ++r) {
      float* to = scratch + r * block_words;
      if (columns % 2 != 0) to[columns / 2] = 0;  // the last column's partner
      std::memcpy(to, p.bf16_weights + (row + r) * p.row_stride + column,
                  static_cast<size_t>(columns) * sizeof(uint16_t));
    }
    return WordRows::of(scratch, block_words, (columns + 1) / 2);
  }
  static TokenRows tokens(const float* x, int64_t stride, int64_t count, int64_t columns, float* scratch) {
    for (int64_t t = 0; t < count; ++t) {
      avx512bf16::round_pairs(x + t * stride, columns, scratch + t * block_words);
    }
    return {scratch, block_words, count, nullptr, 0};
  }
  static void multiply(const TokenRows& left, const float* right, int64_t words, float* result) {
    avx512bf16::multiply_panel({left.words, left.stride, left.count, left.next, left.next_stride}, right, words,
                               result);
  }
};

/// How tokens and rows are cut into tasks. Results do not depend on it.
class LinearPlan {
 public:
  LinearPlan(const LinearProblem& p, int workers)
      : tokens_(p.tokens), rows_(p.rows), row_blocks_(std::max<int64_t>(1, (p.rows + block_rows - 1) / block_rows)) {
    // Packing a block costs as much as multiplying it with some eight tokens, so tokens are cut for balance alone.
    constexpr int64_t fewest_tokens = 16 * panel_rows, tasks_of_a_worker = 4;
    const bool enough_rows = row_blocks_ >= 2 * tasks_of_a_worker * workers;
    const int64_t cuts = enough_rows ? 1 : workers * ((tasks_of_a_worker + row_blocks_ - 1) / row_blocks_);
    step_ = std::max(fewest_tokens, round_up((p.tokens + cuts - 1) / cuts, panel_rows));
    token_blocks_ = (p.tokens + step_ - 1) / step_;
  }

  int64_t tasks() const { return row_blocks_ * token_blocks_; }
  int64_t first_row(int64_t task) const { return task % row_blocks_ * block_rows; }
  int64_t end_row(int64_t task) const { return std::min(rows_, first_row(task) + block_rows); }
  int64_t first_token(int64_t task) const { return task / row_blocks_ * step_; }
  int64_t end_token(int64_t task) const { return std::min(tokens_, first_token(task) + step_); }

 private:
  int64_t tokens_, rows_, row_blocks_, token_blocks_, step_;
};

/// What one worker needs, in words.
struct LinearScratch {
  LinearScratch(const LinearProblem& p, Carver& carver)
      : weights(
            carver.take<float>(round_up(std::min(p.rows, block_rows), tile_width) * std::min(p.columns, block_words))),
        rows(carver.take<float>(p.bf16_weights != nullptr ? tile_width * block_words : 0)),
        tokens(carver.take<float>(panel_rows * block_words)),
        tile(carver.take<float>(panel_rows * tile_width)) {}

  float* weights;  ///< [panels][words][tile_width]
  float* rows;     ///< [tile_width][block_words]: weights on their way to `weights`
  float* tokens;   ///< [panel_rows][block_words]
  float* tile;     ///< [panel_rows][tile_width]
};

/// A tile of results: `count` tokens times `width` rows of y.
struct ResultTile {
  float* y;
  int64_t y_stride, count, width;
  const float* bias;  ///< of the tile's first row, or null
};

HWY_INLINE void copy_floats(const float* from, int64_t count, float* to) {
  const F d;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(hn::LoadU(d, from + i), d, to + i);
  for (; i < count; ++i) to[i] = from[i];
}

/// Sums start from the bias in the first block of columns, from 0 in later ones.
HWY_INLINE void start_tile(const ResultTile& r, bool first_block, float* tile) {
  for (int64_t t = 0; t < r.count; ++t) {
    if (first_block && r.bias != nullptr) {
      copy_floats(r.bias, r.width, tile + t * tile_width);
    } else {
      std::memset(tile + t * tile_width, 0, tile_width * sizeof(float));
    }
  }
}

/// Writes the sums of the first block of columns; adds those of later ones.
HWY_INLINE void finish_tile(const ResultTile& r, bool first_block, const float* tile) {
  const F d;
  for (int64_t t = 0; t < r.count; ++t, tile += tile_width) {
    float* y = r.y + t * r.y_stride;
    if (first_block) {
      copy_floats(tile, r.width, y);
      continue;
    }
    int64_t i = 0;
    for (; i + lanes <= r.width; i += lanes) hn::StoreU(hn::Add(hn::LoadU(d, y + i), hn::Load(d, tile + i)), d, y + i);
    for (; i < r.width; ++i) y[i] += tile[i];
  }
}

/// One block of columns of one task.
template <class Format>
HWY_INLINE void multiply_columns(const LinearProblem& p, const LinearPlan& plan, int64_t task, int64_t column,
                                 const LinearScratch& scratch) {
  const int64_t columns = std::min(p.columns - column, block_words * Format::columns_per_word);
  const int64_t words = (columns + Format::columns_per_word - 1) / Format::columns_per_word;
  const int64_t row_begin = plan.first_row(task), row_end = plan.end_row(task);
  for (int64_t row = row_begin; row < row_end; row += tile_width) {
    const int64_t count = std::min(tile_width, row_end - row);
    const WordRows from = Format::rows(p, row, count, column, columns, scratch.rows);
    pack_rows(from, {0, count}, {0, count}, scratch.weights + (row - row_begin) * words);
  }
  for (int64_t token = plan.first_token(task); token < plan.end_token(task); token += panel_rows) {
    const int64_t count = std::min(panel_rows, plan.end_token(task) - token);
    const float* x = p.x + token * p.x_stride + column;
    TokenRows left = Format::tokens(x, p.x_stride, count, columns, scratch.tokens);
    left.next = token + 2 * panel_rows <= plan.end_token(task) ? x + panel_rows * p.x_stride : x;
    left.next_stride = p.x_stride;
    for (int64_t row = row_begin; row < row_end; row += tile_width) {
      const ResultTile result{p.y + token * p.y_stride + row, p.y_stride, count, std::min(tile_width, row_end - row),
                              p.bias != nullptr ? p.bias + row : nullptr};
      start_tile(result, column == 0, scratch.tile);
      Format::multiply(left, scratch.weights + (row - row_begin) * words, words, scratch.tile);
      finish_tile(result, column == 0, scratch.tile);
    }
  }
}

inline size_t linear_workspace(const LinearProblem& p, int workers) {
  if (p.tokens <= few_tokens) return 0;
  Carver carver;
  const LinearScratch one(p, carver);
  return carver.bytes() * static_cast<size_t>(workers);
}

template <class Format>
void multiply_many(const LinearProblem& p, std::span<std::byte> workspace, const ParallelFor& workers) {
  const LinearPlan plan(p, workers.workers());
  const size_t bytes = linear_workspace(p, 1);
  workers.run(plan.tasks(), [&](int64_t task, int worker) HWY_ATTR {
    Carver carver(workspace.data() + bytes * static_cast<size_t>(worker));
    const LinearScratch scratch(p, carver);
    // Without columns the results are the bias alone, which one empty block writes.
    for (int64_t column = 0; column == 0 || column < p.columns; column += block_words * Format::columns_per_word) {
      multiply_columns<Format>(p, plan, task, column, scratch);
    }
  });
}

inline void multiply_linear(const LinearProblem& p, std::span<std::byte> workspace, const ParallelFor& workers) {
  if (p.tokens <= few_tokens) return multiply_few(p, workers);
  if (p.weights != nullptr) return multiply_many<F32Format>(p, workspace, workers);
  multiply_many<WidenedFormat>(p, workspace, workers);
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
