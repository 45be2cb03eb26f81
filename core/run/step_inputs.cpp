#include "core/run/step_inputs.h"

#include <algorithm>
#include <cstring>

#include <ATen/ATen.h>

#include "core/run/rotate.h"

namespace headscope {
namespace {

constexpr size_t ids_begin = sizeof(ProblemLengths);

}  // namespace

StepInputs::StepInputs(const Device& device, at::Device place, const Architecture& architecture,
                       const LayerStack& stack, int64_t sequences)
    : device_(device),
      here_(plan_ropes(architecture, stack, ids_begin + sizeof(int64_t) * static_cast<size_t>(sequences))),
      there_(here_.size(), device) {
  const auto view = [&](size_t begin, at::IntArrayRef sizes, at::ScalarType type) {
    const auto options = at::TensorOptions(type).device(place);
    return at::from_blob(there_.span().data() + begin, sizes, {}, options, place);
  };
  position_ = view(offsetof(ProblemLengths, causal_offset), {1}, at::kLong);
  ids_ = view(ids_begin, {sequences}, at::kLong);
  for (const Angles& rope : ropes_) angles_.push_back(view(rope.begin, {2, 1, 1, rope.pairs}, at::kFloat));
}

/// Returns where the angles end. Ropes with dynamic scaling may be equal now and differ when there are more tokens.
size_t StepInputs::plan_ropes(const Architecture& architecture, const LayerStack& stack, size_t begin) {
  const auto stays = [&](int64_t layer) {
    return architecture.rope_of(layer).scaling.kind != RopeScaling::Kind::dynamic;
  };
  for (int64_t layer = 0; layer < architecture.layer_count(); ++layer) {
    const auto equal = [&](const Angles& rope) {
      return stays(layer) && stays(rope.layer) && stack.rope(rope.layer) == stack.rope(layer);
    };
    const auto known = std::find_if(ropes_.begin(), ropes_.end(), equal);
    rope_of_layer_.push_back(static_cast<size_t>(known - ropes_.begin()));
    if (known != ropes_.end()) continue;
    ropes_.push_back({layer, begin, stack.rope(layer).pairs()});
    begin += 2 * sizeof(float) * static_cast<size_t>(ropes_.back().pairs);
  }
  return begin;
}

void StepInputs::send(std::span<const int32_t> ids, int64_t position, const LayerStack& stack) {
  const ProblemLengths lengths{position + 1, position};
  std::memcpy(here_.data(), &lengths, sizeof lengths);
  for (size_t i = 0; i < ids.size(); ++i) {
    const int64_t id = ids[i];
    std::memcpy(here_.data() + ids_begin + i * sizeof id, &id, sizeof id);
  }
  for (const Angles& rope : ropes_) {
    const at::Tensor angles = rope_angles(stack.rope(rope.layer), position, 1);
    std::memcpy(here_.data() + rope.begin, angles.const_data_ptr(), angles.nbytes());
  }
  device_.copy(there_.span().data(), here_.data(), here_.size());
}

}  // namespace headscope
