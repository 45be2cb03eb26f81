#include "core/run/decode_step.h"

#include <cmath>

#include <ATen/ATen.h>

#include "core/run/layers.h"
#include "core/run/rotate.h"
#include "core/run/row_results.h"
#include "core/run/through_layers.h"

namespace headscope {
namespace {

/// Raises the cells of a thumbnail's row [q_heads, cells], NaN above all, as kernels do.
void raise_cells(ThumbnailGrid& grid, int64_t row, int64_t heads, const float* cells) {
  for (int64_t head = 0; head < heads; ++head) {
    float* mine = grid.max.data() + (head * grid.cells + row) * grid.cells;
    for (int64_t column = 0; column < grid.cells; ++column) {
      const float value = cells[head * grid.cells + column];
      if (value > mine[column] || std::isnan(value)) mine[column] = value;
    }
  }
}

/// The results of one row, one layer after the other: arrays of numbers, then cells.
class RowResults {
 public:
  RowResults(const Architecture& architecture, const float* results) : architecture_(architecture), next_(results) {}

  /// Calls `store(record, heads, numbers, cells)` for each layer.
  template <class Store>
  void for_each(std::vector<LayerRecord>& records, const Store& store) const {
    const float* next = next_;
    for (size_t layer = 0; layer < records.size(); ++layer) {
      const int64_t heads = architecture_.layers[layer].q_heads;
      const float* const cells = next + row_results::arrays * heads;
      store(records[layer], heads, next, cells);
      next = cells + records[layer].thumbnails->cells * heads;
    }
  }

 private:
  const Architecture& architecture_;
  const float* next_;
};

/// Adds them to the records. Thumbnails change when all else is done: nobody needs to take that back.
void store_row(const RowResults& results, std::vector<LayerRecord>& records, int64_t position) {
  results.for_each(records, [&](LayerRecord& record, int64_t heads, const float* numbers, const float*) {
    record.row_max.append(numbers + row_results::row_max * heads, 1);
    record.log_sum.append(numbers + row_results::log_sum * heads, 1);
    record.statistics.append(numbers + row_results::first_statistic * heads, 1);
    fit(record.own_grid(), heads, position + 1);
  });
  results.for_each(records, [&](LayerRecord& record, int64_t heads, const float*, const float* cells) {
    raise_cells(*record.thumbnails, position / record.thumbnails->bin, heads, cells);
  });
}

}  // namespace

DecodeStep::DecodeStep(std::shared_ptr<const Model> model, LayerStack& layers, Head head)
    : model_(std::move(model)),
      architecture_(*model_->architecture()),
      layers_(layers),
      head_(std::move(head)),
      place_(model_->weights().token_embedding.device()) {}

bool DecodeStep::serves(std::span<const NextTokens> sequences) const {
  if (!model_->device()->records() || architecture_.position.alibi_bf16) return false;
  for (int64_t layer = 0; layer < architecture_.layer_count(); ++layer) {
    if (architecture_.layers[static_cast<size_t>(layer)].mlp.experts > 1) return false;
    if (architecture_.store_of(layer).stored == Stored::keys_only) return false;
    if (layers_.expands(layer, sequences)) return false;
  }
  return true;
}

void DecodeStep::make_ready(int64_t sequences) {
  const Device& device = *model_->device();
  biases_.clear();  // of a first step that had no memory
  for (const Layer& layer : architecture_.layers) {
    biases_.push_back(std::make_unique<PositionBias>(architecture_, 0, layer.q_heads, 0, device));
  }
  inputs_.emplace(device, place_, architecture_, layers_, sequences);
}

at::Tensor DecodeStep::run(std::span<const int32_t> ids, std::span<const NextTokens> sequences) {
  const NextTokens& first = sequences.front();
  if (first.records != nullptr && sequences.size() > 1)
    throw std::logic_error("DecodeStep: records are of one sequence");
  if (!inputs_) make_ready(static_cast<int64_t>(sequences.size()));
  DecodePlan plan = plan_decode(*model_, layers_, sequences);
  inputs_->send(ids, first.position, layers_);
  perform(std::move(plan));
  const at::Tensor answer = answer_.cpu();
  const at::Tensor results = results_.defined() ? results_.cpu() : at::Tensor();
  publish_decoded(architecture_, sequences);
  if (first.records != nullptr) {
    store_row(RowResults(architecture_, results.const_data_ptr<float>()), *first.records, first.position);
  }
  return answer;
}

void DecodeStep::perform(DecodePlan plan) {
  if (!done_once_ || plan != plan_) {
    recording_.reset();
    done_once_ = refused_ = false;
    plan_ = std::move(plan);
    work(SerialFor());  // which makes LibTorch and the kernels ready, as no recording may
    done_once_ = true;
    return;
  }
  if (!recording_ && !refused_) record();
  if (!recording_) return work(SerialFor());
  recording_->run();
  ++repeats_;
}

void DecodeStep::record() {
  try {
    recording_ = model_->device()->record([&](void* stream) { work(SerialFor(stream)); });
  } catch (const std::exception&) {  // no memory for it, perhaps: nothing was done yet, and steps one by one go on
    refused_ = true;
  }
}

/// Hangs on the plan, the model and what lies in the device's memory, and on nothing else: it may have been recorded.
void DecodeStep::work(const ParallelFor& stream) {
  parts_.clear();
  at::Tensor positions;
  if (architecture_.position.scheme == PositionScheme::learned) {
    positions = at::embedding(model_->weights().position_embedding,
                              inputs_->position() + architecture_.position.learned_offset);
  }
  const at::Tensor x = embed(architecture_, model_->weights(), inputs_->ids(), positions);
  const auto attend = [&](int64_t layer, const at::Tensor& normed) { return attention(layer, normed, stream); };
  const auto keep = [&](int64_t layer, const at::Tensor& input) { keep_input(layer, input); };
  answer_ = head_(through_layers(architecture_, model_->weights(), 0, architecture_.layer_count(), x, attend, keep));
  results_ = parts_.empty() ? at::Tensor() : at::cat(parts_);
  parts_.clear();
}

void DecodeStep::keep_input(int64_t layer, const at::Tensor& x) const {
  for (int64_t row = 0; row < x.size(0); ++row) {
    const RowsPlace& place = plan_.sequences[static_cast<size_t>(row)][static_cast<size_t>(layer)].input;
    if (place.data != nullptr) write(place, x.narrow(0, row, 1));
  }
}

at::Tensor DecodeStep::attention(int64_t layer, const at::Tensor& x, const ParallelFor& stream) {
  const Layer& settings = architecture_.layers[static_cast<size_t>(layer)];
  const KvStore& shape = architecture_.store_of(layer);
  const Projections made = project(architecture_, model_->weights(), layer, x);
  if (made.keys.defined() && shape.keys_rotated) turn(layer, made.keys, shape.kv_heads);
  if (settings.rotate_query) turn(layer, made.queries, settings.q_heads);
  const at::Tensor queries = layers_.as_kept(layer, made.queries);
  at::Tensor output = at::empty({x.size(0), settings.q_heads, shape.value_dim}, x.options());
  for (int64_t row = 0; row < x.size(0); ++row) {
    const DecodePlan::Layer& plan = plan_.sequences[static_cast<size_t>(row)][static_cast<size_t>(layer)];
    for (const RowsPlace& place : plan.keys) write(place, made.keys.narrow(0, row, 1));
    for (const RowsPlace& place : plan.values) write(place, made.values.narrow(0, row, 1));
    if (plan.queries.data != nullptr) write(plan.queries, queries.narrow(0, row, 1));
    attend(layer, plan, queries.narrow(0, row, 1), output.select(0, row).data_ptr<float>(), stream);
  }
  layers_.intervene(layer, output);
  return project_output(architecture_, model_->weights(), layer, output, settings.mla.has_value());
}

void DecodeStep::turn(int64_t layer, const at::Tensor& rows, int64_t heads) const {
  turn_rows(layers_.rope(layer), rows, heads, inputs_->angles(layer));
}

void DecodeStep::write(const RowsPlace& place, const at::Tensor& row) const {
  const auto type = place.element == Element::bf16 ? at::kBFloat16 : at::kFloat;
  const auto options = at::TensorOptions(type).device(place_);
  at::Tensor rows = at::from_blob(place.data, {place.capacity, place.width}, {}, options, place_);
  rows.index_copy_(0, inputs_->position() - place.first, as_element(row, place.element));
}

void DecodeStep::attend(int64_t layer, const DecodePlan::Layer& plan, const at::Tensor& queries, float* out,
                        const ParallelFor& stream) {
  AttentionProblem problem = plan.problem;
  problem.q = rows_of(queries.const_data_ptr(), problem.q_heads, problem.key_dim, element_of(queries));
  problem.lengths = inputs_->lengths();
  biases_[static_cast<size_t>(layer)]->add_to(problem);
  AttentionOutput output;
  output.out = {out, 0, problem.value_dim, problem.q_heads * problem.value_dim};
  at::Tensor numbers, argmax, grid;
  if (plan.viewed) {
    const auto options = at::TensorOptions(place_);
    const int64_t heads = problem.q_heads, cells = plan.thumbnail_cells;
    numbers = at::empty({row_results::arrays, heads}, options.dtype(at::kFloat));
    argmax = at::empty({heads}, options.dtype(at::kInt));
    grid = at::zeros({heads, cells, cells}, options.dtype(at::kFloat));
    row_results::point(output, numbers.data_ptr<float>(), argmax.data_ptr<int32_t>(), heads, 0);
    output.thumbnails = {grid.data_ptr<float>(), cells, plan.thumbnail_bin};
  }
  const AttentionKernel& kernel = kernel_for(*model_->device(), problem);
  const Workspace workspace(kernel.forward_workspace(problem, output, stream.workers()), *model_->device());
  kernel.forward(problem, output, workspace.span(), stream);
  layers_.ran(kernel.name);
  if (!numbers.defined()) return;
  numbers.select(0, row_results::array_of(Statistic::argmax)).copy_(argmax);
  const at::Tensor cell_row = at::floor_divide(inputs_->position(), plan.thumbnail_bin);
  parts_.push_back(numbers.flatten());
  parts_.push_back(grid.index_select(1, cell_row).flatten());
}

}  // namespace headscope
