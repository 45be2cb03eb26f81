#include "core/run/attention_step.h"

#include <algorithm>
#include <cmath>

#include "core/run/row_results.h"

namespace headscope {

using namespace row_results;

AttentionStep::AttentionStep(const Device& device, int64_t q_heads, int64_t q_len, int64_t kv_len, float* out,
                             LayerRecord* record)
    : device_(device), heads_(q_heads), rows_(q_len), out_(out), record_(record) {
  if (record == nullptr) return;
  results_.numbers.resize(static_cast<size_t>(arrays * size()));
  results_.argmax.resize(static_cast<size_t>(size()));
  results_.numbers_there.emplace(device, results_.numbers);
  results_.argmax_there.emplace(device, results_.argmax);
  // A copy: snapshots hold the old grid, and so does the run until this chunk is done.
  thumbnails_ = std::make_shared<ThumbnailGrid>(*record->thumbnails);
  fit(*thumbnails_, q_heads, kv_len);
  results_.grid_there.emplace(device, thumbnails_->max);
  results_.grid_there->send();
}

std::string_view AttentionStep::run(const AttentionProblem& problem, int64_t first_head, const ParallelFor& workers) {
  AttentionOutput output;
  output.out = {out_ + first_head * problem.value_dim, 0, problem.value_dim, heads_ * problem.value_dim};
  if (record_ != nullptr) {
    const int64_t first = first_head * rows_, cells = thumbnails_->cells;
    point(output, results_.numbers_there->data(), results_.argmax_there->data(), size(), first);
    output.thumbnails = {results_.grid_there->data() + first_head * cells * cells, cells, thumbnails_->bin};
  }
  const AttentionKernel& kernel = kernel_for(device_, problem);
  const Workspace workspace(kernel.forward_workspace(problem, output, workers.workers()), device_);
  kernel.forward(problem, output, workspace.span(), workers);
  return kernel.name;
}

/// [heads, rows] to token rows of `width` numbers, at column `column`.
void AttentionStep::transpose(int64_t array, float* rows, int64_t width, int64_t column) const {
  const float* values = results_.numbers.data() + array * size();
  for (int64_t head = 0; head < heads_; ++head) {
    for (int64_t row = 0; row < rows_; ++row) rows[row * width + column + head] = values[head * rows_ + row];
  }
}

void AttentionStep::bring_results() {
  results_.numbers_there->fetch();
  results_.argmax_there->fetch();
  results_.grid_there->fetch();
  std::copy(results_.argmax.begin(), results_.argmax.end(),
            results_.numbers.begin() + array_of(Statistic::argmax) * size());
}

void AttentionStep::store() {
  if (record_ == nullptr) return;
  bring_results();
  transpose(row_max, record_->row_max.prepare(rows_), heads_, 0);
  transpose(log_sum, record_->log_sum.prepare(rows_), heads_, 0);
  float* rows = record_->statistics.prepare(rows_);
  for (int64_t which = 0; which < statistic_count; ++which) {
    transpose(first_statistic + which, rows, statistic_count * heads_, which * heads_);
  }
  for (GrowingRows* part : {&record_->row_max, &record_->log_sum, &record_->statistics}) part->publish(rows_);
  record_->thumbnails = thumbnails_;
  record_->grid_is_lent = false;
}

void fit(ThumbnailGrid& grid, int64_t q_heads, int64_t tokens) {
  for (const int64_t bin = grid.bin_for(tokens); grid.bin < bin;) grid = coarser(grid, q_heads);
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
