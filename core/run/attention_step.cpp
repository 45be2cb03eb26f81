#include "core/run/attention_step.h"

#include <algorithm>
#include <cmath>

namespace headscope {

AttentionStep::AttentionStep(int64_t q_heads, int64_t q_len, int64_t kv_len, float* out, LayerRecord* record)
    : heads_(q_heads), rows_(q_len), out_(out), record_(record) {
  if (record == nullptr) return;
  const auto size = static_cast<size_t>(q_heads * q_len);
  argmax_.resize(size);
  for (auto* values : {&row_max_, &log_sum_}) values->resize(size);
  for (auto& values : statistics_) values.resize(size);
  // A copy: snapshots hold the old grid, and so does the run until this chunk is done.
  thumbnails_ = std::make_shared<ThumbnailGrid>(*record->thumbnails);
  while (kv_len > thumbnails_->bin * thumbnails_->cells) *thumbnails_ = coarser(*thumbnails_, q_heads);
}

RowStatistics AttentionStep::statistics_from(int64_t first) {
  RowStatistics wanted;
  wanted.entropy = of(Statistic::entropy) + first;
  wanted.max = of(Statistic::max) + first;
  wanted.argmax = argmax_.data() + first;
  wanted.distance = of(Statistic::distance) + first;
  wanted.distance_variance = of(Statistic::distance_variance) + first;
  wanted.sink = of(Statistic::sink) + first;
  wanted.window = of(Statistic::window) + first;
  wanted.sink_tokens = sink_tokens;
  wanted.window_tokens = window_tokens;
  return wanted;
}

std::string_view AttentionStep::run(const AttentionProblem& problem, int64_t first_head, const ParallelFor& workers) {
  AttentionOutput output;
  output.out = {out_ + first_head * problem.value_dim, 0, problem.value_dim, heads_ * problem.value_dim};
  if (record_ != nullptr) {
    const int64_t first = first_head * rows_, cells = thumbnails_->cells;
    output.row_max = row_max_.data() + first;
    output.log_sum = log_sum_.data() + first;
    output.statistics = statistics_from(first);
    output.thumbnails = {thumbnails_->max.data() + first_head * cells * cells, cells, thumbnails_->bin};
  }
  const AttentionKernel& kernel = select_attention_kernel(problem);
  const Workspace workspace(kernel.forward_workspace(problem, output, workers.workers()));
  kernel.forward(problem, output, workspace.span(), workers);
  return kernel.name;
}

/// [heads, rows] to token rows of `width` numbers, at column `column`.
void AttentionStep::transpose(const std::vector<float>& values, float* rows, int64_t width, int64_t column) const {
  for (int64_t head = 0; head < heads_; ++head) {
    for (int64_t row = 0; row < rows_; ++row) {
      rows[row * width + column + head] = values[static_cast<size_t>(head * rows_ + row)];
    }
  }
}

void AttentionStep::store() {
  if (record_ == nullptr) return;
  std::copy(argmax_.begin(), argmax_.end(), of(Statistic::argmax));
  transpose(row_max_, record_->row_max.prepare(rows_), heads_, 0);
  transpose(log_sum_, record_->log_sum.prepare(rows_), heads_, 0);
  float* rows = record_->statistics.prepare(rows_);
  for (int64_t which = 0; which < statistic_count; ++which) {
    transpose(statistics_[which], rows, statistic_count * heads_, which * heads_);
  }
  for (GrowingRows* part : {&record_->row_max, &record_->log_sum, &record_->statistics}) part->publish(rows_);
  record_->thumbnails = thumbnails_;
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
