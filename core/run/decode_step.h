#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/data/layer_problem.h"
#include "core/run/decode_plan.h"
#include "core/run/step_inputs.h"

namespace headscope {

/// The next token of some sequences, which have equally many, as work that a device records and does again: what
/// changes from token to token lies in its memory (StepInputs), and nothing comes back before all of it is done. A plan
/// is done once as it is, recorded the second time, and repeated from then on. One thread uses it.
class DecodeStep {
 public:
  /// What is wanted of the hidden states [sequences, d_model] behind the last layer, in the device's memory.
  using Head = std::function<at::Tensor(const at::Tensor& x)>;

  /// Borrows the layers.
  DecodeStep(std::shared_ptr<const Model>, LayerStack&, Head);

  /// Whether the device records, and all that the model does for one more token of each sequence can be: not where
  /// experts are chosen on the host, or where all keys go through LibTorch at each step (slim attention, expanded MLA)
  /// or through the host (ALiBi's products as rounded).
  bool serves(std::span<const NextTokens>) const;

  /// Forwards one token of each sequence, adds it to caches and records (of one sequence, or of none), and returns what
  /// the head made, on the host. When anything throws, the rows that were added so far stay; the caller takes them
  /// back.
  at::Tensor run(std::span<const int32_t> ids, std::span<const NextTokens>);

  /// Steps that were recorded work.
  int64_t repeats() const { return repeats_; }

 private:
  void make_ready(int64_t sequences);
  void perform(DecodePlan);
  void record();
  void work(const ParallelFor& stream);
  void keep_input(int64_t layer, const at::Tensor& x) const;
  at::Tensor attention(int64_t layer, const at::Tensor& x, const ParallelFor& stream);
  void turn(int64_t layer, const at::Tensor& rows, int64_t heads) const;
  void write(const RowsPlace&, const at::Tensor& row) const;
  void attend(int64_t layer, const DecodePlan::Layer&, const at::Tensor& queries, float* out,
              const ParallelFor& stream);

  std::shared_ptr<const Model> model_;
  const Architecture& architecture_;
  LayerStack& layers_;
  Head head_;
  at::Device place_;                                   ///< LibTorch's name of the model's device
  std::vector<std::unique_ptr<PositionBias>> biases_;  ///< [layers]; made with the inputs, at the first step
  std::optional<StepInputs> inputs_;
  DecodePlan plan_;
  bool done_once_ = false, refused_ = false;  ///< the plan's work, and its recording
  std::unique_ptr<const RecordedWork> recording_;
  // What the work made, in the device's memory.
  at::Tensor answer_;
  std::vector<at::Tensor> parts_;  ///< of results_, while it is made
  at::Tensor results_;             ///< of a row for viewers (row_results.h) and its cells, of each layer
  int64_t repeats_ = 0;
};

}  // namespace headscope
