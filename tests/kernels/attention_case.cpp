#include "tests/kernels/attention_case.h"

#include "tests/kernels/tested_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace headscope::testing {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

/// A view of `storage`, made as large as the layout needs; what lies between the rows is NaN.
InputRows lay_out(Memory memory, int64_t batch, int64_t heads, int64_t rows, int64_t dim, std::vector<float>& storage) {
  if (memory == Memory::packed) {
    storage.assign(static_cast<size_t>(batch * heads * rows * dim), nan);
    return {storage.data(), heads * rows * dim, rows * dim, dim};
  }
  const int64_t head = dim + 3, row = heads * head + 2;
  storage.assign(static_cast<size_t>(1 + batch * rows * row), nan);
  return {storage.data() + 1, rows * row, head, row};
}

template <class Fill>
void fill(const InputRows& view, int64_t batch, int64_t heads, int64_t rows, int64_t dim, const Fill& next) {
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t r = 0; r < rows; ++r) {
        auto* row = const_cast<float*>(view.row(b, h, r));
        for (int64_t d = 0; d < dim; ++d) row[d] = next(r, d);
      }
    }
  }
}

bool any_row_sees(const AttentionProblem& p, int64_t head, int64_t key) {
  for (int64_t i = 0; i < p.q_len; ++i) {
    const int64_t position = i + p.causal_offset;
    const bool causal = !p.causal || key <= position;
    const bool recent = p.window == 0 || key > position - p.window;
    if (causal && recent && (!p.key_log_weight || p.key_log_weight[head * p.kv_len + key] != -infinity)) return true;
  }
  return false;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const CaseSpec& spec) { return out << spec.name; }

CaseSpec grouped_spec(int64_t q_len, int64_t kv_len) {
  CaseSpec spec;
  spec.q_heads = 4;
  spec.kv_heads = 2;
  spec.q_len = q_len;
  spec.kv_len = kv_len;
  spec.offset = kv_len - q_len;
  spec.bin = (kv_len + 63) / 64;
  return spec;
}

AttentionCase::AttentionCase(const CaseSpec& wanted) : spec(wanted) {
  AttentionProblem& p = problem;
  p.batch = spec.batch;
  p.q_heads = spec.q_heads;
  p.kv_heads = spec.kv_heads;
  p.q_len = spec.q_len;
  p.kv_len = spec.kv_len;
  p.key_dim = spec.key_dim;
  p.value_dim = spec.value_dim;
  p.causal = spec.causal;
  p.causal_offset = spec.offset;
  p.window = spec.window;
  p.soft_cap = spec.soft_cap;
  make_inputs();
  if (spec.rotation.dims > 0) make_rotation();
  shape_scores();
  if (spec.poison) poison_unseen();
  if (spec.element == Element::bf16) round_to_bf16();
  if (spec.element == Element::f32) return;
  widened_ = p;
  const auto as_bf16 = [](const InputRows& rows, const std::vector<float>& from, std::vector<uint16_t>& to) {
    for (const float number : from) to.push_back(to_bf16(number));
    return InputRows(to.data() + (rows.row(0, 0, 0) - from.data()), rows.batch_stride, rows.head_stride,
                     rows.row_stride);
  };
  p.q = as_bf16(p.q, q, q16_);
  p.k = as_bf16(p.k, k, k16_);
  p.v = as_bf16(p.v, v, v16_);
}

void AttentionCase::round_to_bf16() {
  for (auto* numbers : {&q, &k, &v}) {
    for (float& number : *numbers) number = from_bf16(to_bf16(number));
  }
}

void AttentionCase::make_inputs() {
  AttentionProblem& p = problem;
  std::mt19937 random(static_cast<unsigned>(spec.q_len * 131 + spec.kv_len * 17 + spec.key_dim));
  std::normal_distribution<float> normal;
  std::uniform_int_distribution<int> small(-1, 1);
  const auto next = [&](int64_t, int64_t) {
    return spec.scores == Scores::ties ? static_cast<float>(small(random)) : normal(random);
  };
  p.q = lay_out(spec.memory, p.batch, p.q_heads, p.q_len, p.key_dim, q);
  p.k = lay_out(spec.memory, p.batch, p.kv_heads, p.kv_len, p.key_dim, k);
  p.v = lay_out(spec.memory, p.batch, p.kv_heads, p.kv_len, p.value_dim, v);
  fill(p.q, p.batch, p.q_heads, p.q_len, p.key_dim, next);
  fill(p.k, p.batch, p.kv_heads, p.kv_len, p.key_dim, next);
  fill(p.v, p.batch, p.kv_heads, p.kv_len, p.value_dim, [&](int64_t, int64_t) { return normal(random); });
  p.scale = spec.scores == Scores::ties ? 0.5F : 2 / std::sqrt(static_cast<float>(p.key_dim));
  for (int64_t h = 0; spec.alibi && h < p.q_heads; ++h) slopes.push_back(std::exp2(-1.0F - static_cast<float>(h)));
  if (spec.alibi) p.alibi_slopes = slopes.data();
  if (spec.log_weights == LogWeights::none) return;
  for (int64_t i = 0; i < p.q_heads * p.kv_len; ++i) {
    const bool hole = spec.log_weights == LogWeights::holes && i % 3 != 1;
    const bool hidden = spec.log_weights == LogWeights::one_head_hidden && i / p.kv_len == p.q_heads - 1;
    log_weight.push_back(hole || hidden ? -infinity : normal(random));
  }
  p.key_log_weight = log_weight.data();
}

/// Tables with something between their rows that would be seen.
void AttentionCase::make_rotation() {
  const RotationSpec& wanted = spec.rotation;
  KeyRotation& rotation = problem.key_rotation;
  rotation = {nullptr, nullptr, spec.kv_len + 3, wanted.dims / 2, wanted.first_dim, wanted.style};
  for (int64_t pair = 0; pair < rotation.pairs; ++pair) {
    const double theta = std::pow(wanted.base, -2.0 * static_cast<double>(pair) / static_cast<double>(wanted.dims));
    for (int64_t j = 0; j < rotation.stride; ++j) {
      const double angle = static_cast<double>(j) * theta;
      cosines.push_back(j < spec.kv_len ? static_cast<float>(wanted.factor * std::cos(angle)) : nan);
      sines.push_back(j < spec.kv_len ? static_cast<float>(wanted.factor * std::sin(angle)) : nan);
    }
  }
  rotation.cosines = cosines.data();
  rotation.sines = sines.data();
}

void AttentionCase::shape_scores() {
  AttentionProblem& p = problem;
  if (spec.scores == Scores::large) p.scale = 3000 / std::sqrt(static_cast<float>(p.key_dim));
  if (spec.scores != Scores::rising && spec.scores != Scores::falling) return;
  // The first dimension alone adds up to 60 along the keys, up or down.
  const float way = spec.scores == Scores::rising ? 1.0F : -1.0F;
  p.scale = 1;
  fill(p.q, p.batch, p.q_heads, p.q_len, 1, [](int64_t, int64_t) { return 1.0F; });
  fill(p.k, p.batch, p.kv_heads, p.kv_len, 1,
       [&](int64_t row, int64_t) { return way * 60.0F * static_cast<float>(row) / static_cast<float>(p.kv_len); });
}

void AttentionCase::poison_unseen() {
  const AttentionProblem& p = problem;
  const int64_t group = p.q_heads / p.kv_heads;
  for (int64_t head = 0; head < p.kv_heads; ++head) {
    for (int64_t j = 0; j < p.kv_len; ++j) {
      bool seen = false;
      for (int64_t h = head * group; h < (head + 1) * group; ++h) seen = seen || any_row_sees(p, h, j);
      for (int64_t b = 0; b < p.batch && !seen; ++b) {
        std::fill_n(key(b, head, j), p.key_dim, nan);
        std::fill_n(value(b, head, j), p.value_dim, nan);
      }
    }
  }
}

Results Results::sized(const AttentionProblem& p, int64_t cells) {
  Results results;
  const auto rows = static_cast<size_t>(p.batch * p.q_heads * p.q_len);
  for (auto* array : {&results.row_max, &results.log_sum, &results.entropy, &results.max, &results.distance,
                      &results.distance_variance, &results.sink, &results.window}) {
    array->resize(rows);
  }
  results.argmax.resize(rows);
  results.out.resize(rows * static_cast<size_t>(p.value_dim));
  results.thumbnails.resize(static_cast<size_t>(p.batch * p.q_heads * cells * cells));
  return results;
}

const std::vector<NamedArray>& result_arrays() {
  static const std::vector<NamedArray> arrays = {
      {"out", &Results::out},
      {"row_max", &Results::row_max},
      {"log_sum", &Results::log_sum},
      {"entropy", &Results::entropy},
      {"max", &Results::max},
      {"distance", &Results::distance},
      {"distance_variance", &Results::distance_variance},
      {"sink", &Results::sink},
      {"window", &Results::window},
      {"thumbnails", &Results::thumbnails},
      {"scores", &Results::scores},
  };
  return arrays;
}

AttentionProblem rows_of(const AttentionProblem& problem, int64_t begin, int64_t end) {
  AttentionProblem part = problem;
  part.q = part.q.from(begin);
  part.q_len = end - begin;
  part.causal_offset += begin;
  return part;
}

namespace {

/// Guarded outputs of one call, copied into the rows [begin, ...) of dense results afterwards.
struct GuardedOutput {
  GuardedOutput(const AttentionProblem& problem, const CaseSpec& spec)
      : p(problem),
        rows(static_cast<size_t>(p.batch * p.q_heads * p.q_len)),
        row_stride(p.value_dim + 5),
        out(rows * static_cast<size_t>(row_stride)),
        row_max(rows),
        log_sum(rows),
        entropy(rows),
        max(rows),
        distance(rows),
        variance(rows),
        sink(rows),
        window(rows),
        argmax(rows),
        thumbnails(static_cast<size_t>(p.batch * p.q_heads * spec.cells * spec.cells)),
        score_stride(p.kv_len + 3),
        scores(spec.scores_kept ? rows * static_cast<size_t>(score_stride) : 0) {
    output.out = {out.data(), p.q_heads * p.q_len * row_stride, p.q_len * row_stride, row_stride};
    output.row_max = row_max.data();
    output.log_sum = log_sum.data();
    output.statistics = {entropy.data(), max.data(),    argmax.data(),    distance.data(),   variance.data(),
                         sink.data(),    window.data(), spec.sink_tokens, spec.window_tokens};
    output.thumbnails = {thumbnails.data(), spec.cells, spec.bin};
    if (!spec.scores_kept) return;
    output.scores = {scores.data(), p.q_heads * p.q_len * score_stride, p.q_len * score_stride, score_stride};
  }

  void expect_intact() const {
    EXPECT_TRUE(out.intact() && row_max.intact() && log_sum.intact() && entropy.intact() && max.intact() &&
                distance.intact() && variance.intact() && sink.intact() && window.intact() && argmax.intact() &&
                thumbnails.intact() && scores.intact())
        << "wrote beside an output";
    for (size_t row = 0; row < rows; ++row) {
      const size_t end = (row + 1) * static_cast<size_t>(row_stride);
      ASSERT_TRUE(out.untouched(end - 5, end)) << "wrote between the rows of out";
    }
    for (size_t end = static_cast<size_t>(score_stride); end <= scores.size();
         end += static_cast<size_t>(score_stride)) {
      ASSERT_TRUE(scores.untouched(end - 3, end)) << "wrote between the rows of scores";
    }
  }

  void copy_to(Results& results, int64_t total_rows, int64_t begin) {
    for (int64_t head = 0; head < p.batch * p.q_heads; ++head) {
      for (int64_t i = 0; i < p.q_len; ++i) {
        const auto from = static_cast<size_t>(head * p.q_len + i);
        const auto to = static_cast<size_t>(head * total_rows + begin + i);
        results.row_max[to] = row_max[from];
        results.log_sum[to] = log_sum[from];
        results.entropy[to] = entropy[from];
        results.max[to] = max[from];
        results.distance[to] = distance[from];
        results.distance_variance[to] = variance[from];
        results.sink[to] = sink[from];
        results.window[to] = window[from];
        results.argmax[to] = argmax[from];
        std::copy_n(out.data() + from * static_cast<size_t>(row_stride), p.value_dim,
                    results.out.data() + to * static_cast<size_t>(p.value_dim));
        if (scores.size() == 0) continue;
        std::copy_n(scores.data() + from * static_cast<size_t>(score_stride), p.kv_len,
                    results.scores.data() + to * static_cast<size_t>(p.kv_len));
      }
    }
    results.thumbnails.assign(thumbnails.data(), thumbnails.data() + thumbnails.size());
  }

  const AttentionProblem& p;
  size_t rows;
  int64_t row_stride;
  Guarded<float> out, row_max, log_sum, entropy, max, distance, variance, sink, window;
  Guarded<int32_t> argmax;
  Guarded<float> thumbnails;
  int64_t score_stride;
  Guarded<float> scores;
  AttentionOutput output;
};

}  // namespace

void run_forward_rows(const AttentionKernel& kernel, const AttentionCase& c, int64_t begin, int64_t end,
                      const ParallelFor& parallel, Results& results) {
  const AttentionProblem part = rows_of(c.problem, begin, end);
  GuardedOutput guarded(part, c.spec);
  std::copy(results.thumbnails.begin(), results.thumbnails.end(), guarded.thumbnails.data());
  if (c.spec.scores_kept) results.scores.resize(results.row_max.size() * static_cast<size_t>(c.problem.kv_len));
  Guarded<std::byte> workspace(kernel.forward_workspace(part, guarded.output, parallel.workers()));
  kernel.forward(part, guarded.output, workspace.span(), parallel);
  EXPECT_TRUE(workspace.intact()) << "wrote beside the workspace";
  guarded.expect_intact();
  guarded.copy_to(results, c.problem.q_len, begin);
}

Results run_forward(const AttentionKernel& kernel, const AttentionCase& c, const ParallelFor& parallel) {
  Results results = Results::sized(c.problem, c.spec.cells);
  run_forward_rows(kernel, c, 0, c.problem.q_len, parallel, results);
  return results;
}

std::vector<float> run_tile(const AttentionKernel& kernel, const AttentionProblem& problem, const Results& forward,
                            const TileRequest& request, const ParallelFor& parallel) {
  Guarded<float> cells(static_cast<size_t>(request.rows() * request.columns()));
  float* first = cells.data();
  Guarded<std::byte> workspace(kernel.tiles_workspace(problem, {&request, 1}, parallel.workers()));
  EXPECT_TRUE(kernel.tiles(problem, forward.row_max.data(), forward.log_sum.data(), {&request, 1}, {&first, 1},
                           workspace.span(), parallel, {}));
  EXPECT_TRUE(cells.intact()) << "wrote beside the cells";
  EXPECT_TRUE(workspace.intact()) << "wrote beside the workspace";
  return {cells.data(), cells.data() + cells.size()};
}

std::vector<AttentionKernel> kernels_for(const AttentionProblem& problem) {
  const auto all = tested_kernels();
  std::vector<AttentionKernel> kernels(all.begin(), all.end());
  std::erase_if(kernels, [&](const AttentionKernel& kernel) { return kernel.unsupported(problem).has_value(); });
  return kernels;
}

std::vector<AttentionKernel> fast_kernels() { return kernels_for({}); }

std::vector<AttentionKernel> f32_kernels() {
  std::vector<AttentionKernel> kernels = fast_kernels();
  kernels.insert(kernels.begin(), reference_kernel());
  return kernels;
}

const AttentionKernel& reference_kernel() { return attention_kernels().front(); }

}  // namespace headscope::testing
