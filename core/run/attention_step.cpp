#include "core/run/attention_step.h"

#include <algorithm>
#include <cmath>

namespace headscope {
namespace {

/// Where the kernel leaves the row results of one call: [q_heads, tokens] each.
struct CallResults {
  CallResults(int64_t heads, int64_t tokens) : heads_(heads), tokens_(tokens) {
    const auto size = static_cast<size_t>(heads * tokens);
    row_max.resize(size);
    log_sum.resize(size);
    argmax.resize(size);
    for (auto& values : statistics) values.resize(size);
  }

  float* of(Statistic which) { return statistics[static_cast<size_t>(which)].data(); }

  RowStatistics pointers() {
    RowStatistics wanted;
    wanted.entropy = of(Statistic::entropy);
    wanted.max = of(Statistic::max);
    wanted.argmax = argmax.data();
    wanted.distance = of(Statistic::distance);
    wanted.distance_variance = of(Statistic::distance_variance);
    wanted.sink = of(Statistic::sink);
    wanted.window = of(Statistic::window);
    wanted.sink_tokens = sink_tokens;
    wanted.window_tokens = window_tokens;
    return wanted;
  }

  /// [heads, tokens] to token rows of `width` numbers, at column `column`.
  void transpose(const std::vector<float>& values, float* rows, int64_t width, int64_t column) const {
    for (int64_t head = 0; head < heads_; ++head) {
      for (int64_t token = 0; token < tokens_; ++token) {
        rows[token * width + column + head] = values[static_cast<size_t>(head * tokens_ + token)];
      }
    }
  }

  std::vector<float> row_max, log_sum;
  std::vector<int32_t> argmax;
  std::vector<float> statistics[statistic_count];

 private:
  int64_t heads_, tokens_;
};

void store_rows(CallResults& results, LayerRecord& record, int64_t heads, int64_t tokens) {
  std::copy(results.argmax.begin(), results.argmax.end(), results.of(Statistic::argmax));
  results.transpose(results.row_max, record.row_max.prepare(tokens), heads, 0);
  results.transpose(results.log_sum, record.log_sum.prepare(tokens), heads, 0);
  float* rows = record.statistics.prepare(tokens);
  for (int64_t which = 0; which < statistic_count; ++which) {
    results.transpose(results.statistics[which], rows, statistic_count * heads, which * heads);
  }
  record.row_max.publish(tokens);
  record.log_sum.publish(tokens);
  record.statistics.publish(tokens);
}

}  // namespace

std::string_view attend(const AttentionProblem& problem, LayerRecord* record, float* out, const ParallelFor& workers) {
  const AttentionKernel& kernel = select_attention_kernel(problem);
  const auto forward = [&](const AttentionOutput& output) {
    const Workspace workspace(kernel.forward_workspace(problem, output, workers.workers()));
    kernel.forward(problem, output, workspace.span(), workers);
  };
  AttentionOutput output;
  output.out = {out, 0, problem.value_dim, problem.q_heads * problem.value_dim};
  if (record == nullptr) {
    forward(output);
    return kernel.name;
  }
  while (problem.kv_len > record->thumbnails->bin * record->thumbnails->cells) {
    record->thumbnails = std::make_shared<ThumbnailGrid>(coarser(*record->thumbnails, problem.q_heads));
  }
  // A copy: snapshots hold the old grid, and so does the run until this chunk is done.
  record->thumbnails = std::make_shared<ThumbnailGrid>(*record->thumbnails);
  CallResults results(problem.q_heads, problem.q_len);
  output.row_max = results.row_max.data();
  output.log_sum = results.log_sum.data();
  output.statistics = results.pointers();
  output.thumbnails = {record->thumbnails->max.data(), record->thumbnails->cells, record->thumbnails->bin};
  forward(output);
  store_rows(results, *record, problem.q_heads, problem.q_len);
  return kernel.name;
}

ThumbnailGrid coarser(const ThumbnailGrid& fine, int64_t q_heads) {
  const int64_t cells = fine.cells;
  ThumbnailGrid coarse{cells, fine.bin * 2, std::vector<float>(fine.max.size(), 0.0f)};
  for (int64_t head = 0; head < q_heads; ++head) {
    const float* from = fine.max.data() + head * cells * cells;
    float* to = coarse.max.data() + head * cells * cells;
    for (int64_t row = 0; row < cells; ++row) {
      for (int64_t column = 0; column < cells; ++column) {
        float& cell = to[row / 2 * cells + column / 2];
        const float value = from[row * cells + column];
        if (value > cell || std::isnan(value)) cell = value;  // NaN wins, as in the kernels
      }
    }
  }
  return coarse;
}

}  // namespace headscope
