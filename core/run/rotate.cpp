#include "core/run/rotate.h"

#include <ATen/ATen.h>

namespace headscope {
namespace {

/// x [tokens, heads, 2 * pairs]: the first and the second dimension of every pair, as views.
std::pair<at::Tensor, at::Tensor> pairs_of(const at::Tensor& x, RotationStyle style, int64_t pairs) {
  if (style == RotationStyle::rotate_half) return {x.narrow(2, 0, pairs), x.narrow(2, pairs, pairs)};
  return {x.slice(2, 0, 2 * pairs, 2), x.slice(2, 1, 2 * pairs, 2)};
}

}  // namespace

at::Tensor rope_angles(const RopeTable& rope, int64_t first_position, int64_t tokens) {
  at::Tensor angles = at::empty({2, tokens, 1, rope.pairs()}, at::kFloat);
  auto* numbers = angles.data_ptr<float>();
  rope.angles(first_position, tokens, numbers, numbers + tokens * rope.pairs());
  return angles;
}

void turn_rows(const RopeTable& rope, at::Tensor rows, int64_t heads, const at::Tensor& angles) {
  const int64_t tokens = rows.size(0), dim = rows.size(1) / heads, pairs = rope.pairs();
  if (pairs == 0) return;
  const at::Tensor cosines = angles.select(0, 0), sines = angles.select(0, 1);
  const at::Tensor turning = rows.view({tokens, heads, dim}).narrow(2, rope.offset(), 2 * pairs);
  const auto [x, y] = pairs_of(turning, rope.style(), pairs);
  const at::Tensor turned_x = x * cosines - y * sines, turned_y = y * cosines + x * sines;
  x.copy_(turned_x);
  y.copy_(turned_y);
}

void rotate_rows(const RopeTable& rope, at::Tensor rows, int64_t heads, int64_t first_position, bool by_tensors,
                 const ParallelFor& workers) {
  const int64_t tokens = rows.size(0);
  if (!by_tensors) {
    return rope.rotate(rows.data_ptr<float>(), tokens, heads, rows.size(1) / heads, first_position, workers);
  }
  turn_rows(rope, rows, heads, rope_angles(rope, first_position, tokens).to(rows.device()));
}

}  // namespace headscope
