#pragma once

#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "core/data/workspace.h"
#include "core/run/layer_stack.h"

namespace headscope {

/// What changes from token to token of a decode step, in the memory of a device: lengths, ids, and the angles of each
/// rope that differs from the others. The places stay, so recorded work finds there what was sent last.
class StepInputs {
 public:
  /// `place` is LibTorch's name of the device.
  StepInputs(const Device&, at::Device place, const Architecture&, const LayerStack&, int64_t sequences);

  /// For tokens of these ids at `position`.
  void send(std::span<const int32_t> ids, int64_t position, const LayerStack&);

  // Views of the device's memory.
  const ProblemLengths* lengths() const { return reinterpret_cast<const ProblemLengths*>(there_.span().data()); }
  const at::Tensor& position() const { return position_; }  ///< [1]
  const at::Tensor& ids() const { return ids_; }            ///< [sequences]
  /// [2, 1, 1, pairs], as turn_rows takes them.
  const at::Tensor& angles(int64_t layer) const { return angles_[rope_of_layer_[static_cast<size_t>(layer)]]; }

 private:
  struct Angles {
    int64_t layer;  ///< one of those that have it
    size_t begin;   ///< of its angles in the memory
    int64_t pairs;
  };
  size_t plan_ropes(const Architecture&, const LayerStack&, size_t begin);

  const Device& device_;
  std::vector<Angles> ropes_;
  std::vector<size_t> rope_of_layer_;
  std::vector<std::byte> here_;
  Workspace there_;
  at::Tensor position_, ids_;
  std::vector<at::Tensor> angles_;  ///< [ropes]
};

}  // namespace headscope
