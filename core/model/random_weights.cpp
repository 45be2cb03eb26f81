#include "core/model/random_weights.h"

#include <cmath>

#include <ATen/ATen.h>

#include "core/arch/families/headscope_schema.h"
#include "core/model/torch_errors.h"
#include "core/model/weight_map.h"
#include "core/model/weight_memory.h"

namespace headscope {
namespace {

at::Tensor random_matrix(at::IntArrayRef shape, at::ScalarType type, at::Generator& random) {
  constexpr int64_t block = int64_t{1} << 22;  // numbers that are made at once, in f32
  const double deviation = 1 / std::sqrt(static_cast<double>(shape.back()));
  at::Tensor out = empty_weight(shape, type);
  const at::Tensor flat = out.view(-1);
  for (int64_t first = 0; first < flat.numel(); first += block) {
    const int64_t count = std::min(block, flat.numel() - first);
    flat.narrow(0, first, count).copy_(at::randn({count}, random, at::kFloat) * deviation);
  }
  return out;
}

bool is_norm(Weight weight) {
  switch (weight) {
    case Weight::final_norm:
    case Weight::attention_norm:
    case Weight::attention_post_norm:
    case Weight::query_norm:
    case Weight::key_norm:
    case Weight::query_latent_norm:
    case Weight::latent_norm:
    case Weight::mlp_norm:
    case Weight::mlp_post_norm:
      return true;
    default:
      return false;
  }
}

at::Tensor random_weight(const TensorWish& wish, DType dtype, at::Generator& random) {
  const Weight weight = wish.parts.front().weight;
  if (wish.shape.size() == 1) return at::full(wish.shape, is_norm(weight) ? 1.0 : 0.0, at::kFloat);
  const bool rounded = dtype == DType::bf16 && weight != Weight::router;
  return random_matrix(wish.shape, rounded ? at::kBFloat16 : at::kFloat, random);
}

}  // namespace

std::shared_ptr<const Model> random_weights(std::string name, Architecture architecture, DType dtype, uint64_t seed,
                                            const Progress& progress, std::shared_ptr<const Device> device) {
  const c10::InferenceMode no_gradients;
  validate(architecture);
  const TensorSchema schema = headscope_schema(architecture);
  at::Generator random = at::detail::createCPUGenerator(seed);
  WeightMap map;
  with_torch_errors([&] {
    double done = 0;
    for (const TensorWish& wish : schema.wishes) {
      progress.step("making random weights", done++ / static_cast<double>(schema.wishes.size()));
      const WeightPart& part = wish.parts.front();  // one wish, one weight in this schema
      const at::Tensor weight = random_weight(wish, dtype, random);
      map[{part.layer, part.weight, part.expert}] = device->on_gpu() ? weight.to(at::kCUDA) : weight;
    }
  });
  Weights weights = arrange(map, architecture, LinearMethod::own);
  return std::make_shared<Model>(std::move(name), std::move(architecture), std::move(weights), std::nullopt,
                                 std::move(device));
}

}  // namespace headscope
