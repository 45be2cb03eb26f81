#include "core/run/experts.h"

#include <tuple>

#include <ATen/ATen.h>

#include "core/run/layers.h"

namespace headscope {
namespace {

/// `scores` [tokens, experts] with -inf for the experts of groups that are not among the best.
at::Tensor only_best_groups(const Router& router, const at::Tensor& scores) {
  if (router.groups_active == router.groups) return scores;
  const at::Tensor grouped = scores.view({scores.size(0), router.groups, -1});
  const at::Tensor quality = std::get<0>(grouped.topk(router.group_best)).sum(-1);
  const at::Tensor best = std::get<1>(quality.topk(router.groups_active));
  const at::Tensor closed = at::ones_like(quality, at::kBool).scatter(1, best, false);
  return grouped.masked_fill(closed.unsqueeze(-1), -INFINITY).flatten(1);
}

}  // namespace

ChosenExperts choose_experts(const Mlp& mlp, const LayerWeights& weights, const at::Tensor& x) {
  const Router& router = mlp.router;
  const at::Tensor logits = apply_linear({weights.router, {}, weights.output.method}, x);
  const at::Tensor scores = router.score == Router::Score::sigmoid ? logits.sigmoid() : logits.softmax(-1);
  const at::Tensor for_choice = router.choice_bias ? scores + weights.router_bias : scores;
  ChosenExperts chosen;
  chosen.index = std::get<1>(only_best_groups(router, for_choice).topk(mlp.experts_active));
  chosen.weight = scores.gather(1, chosen.index);
  if (router.normalised) chosen.weight = chosen.weight / (chosen.weight.sum(-1, true) + 1e-20);
  chosen.weight = chosen.weight * router.scale;
  return chosen;
}

at::Tensor apply_experts(const Mlp& mlp, const LayerWeights& weights, const at::Tensor& x) {
  const ChosenExperts chosen = choose_experts(mlp, weights, x);
  at::Tensor out = mlp.shared_width > 0 ? apply_mlp(mlp, weights.shared, x) : at::zeros_like(x);
  for (int64_t expert = 0; expert < mlp.experts; ++expert) {
    const at::Tensor places = chosen.index.eq(expert).nonzero();  // [found, (token, rank)]
    if (places.size(0) == 0) continue;
    const at::Tensor tokens = places.select(1, 0);
    const at::Tensor weight = chosen.weight.index({tokens, places.select(1, 1)});
    const at::Tensor result = apply_mlp(mlp, weights.experts[static_cast<size_t>(expert)], x.index_select(0, tokens));
    out.index_add_(0, tokens, result * weight.unsqueeze(1));
  }
  return out;
}

}  // namespace headscope
