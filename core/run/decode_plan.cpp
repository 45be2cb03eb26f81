#include "core/run/decode_plan.h"

#include <algorithm>
#include <bit>

#include "core/data/layer_problem.h"

namespace headscope {
namespace {

constexpr int64_t fewest_keys = 256;  ///< of a plan: shorter ones are not worth one of their own

int64_t keys_planned_for(int64_t tokens, int64_t context) {
  const auto power = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max(tokens, fewest_keys))));
  return std::min(power, std::max(context, tokens));
}

DecodePlan::Layer plan_layer(const Model& model, const LayerStack& layers, int64_t layer, int64_t longest,
                             const NextTokens& next) {
  const Architecture& architecture = *model.architecture();
  DecodePlan::Layer plan;
  KvCache::Store& store = next.cache->store_of(layer);
  if (architecture.owns_cache(layer)) {
    if (store.has_k()) plan.keys = store.k.places_of_next();
    if (store.has_v()) plan.values = store.v.places_of_next();
  }
  plan.problem = layer_problem(architecture, layer);
  plan.problem.q_len = 1;
  plan.problem.kv_len = longest;
  plan.problem.causal_offset = longest - 1;
  ReadCache(architecture, model.weights(), layer, CachedRows(store), longest - 1, longest,
            layers.key_angles(layer).get())
      .add_to(plan.problem);
  if (next.records == nullptr) return plan;
  LayerRecord& record = (*next.records)[static_cast<size_t>(layer)];
  plan.viewed = true;
  if (record.q) plan.queries = record.q->place_of_next();
  if (record.input) plan.input = record.input->place_of_next();
  plan.thumbnail_cells = record.thumbnails->cells;
  plan.thumbnail_bin = record.thumbnails->bin_for(next.position + 1);
  return plan;
}

}  // namespace

DecodePlan plan_decode(const Model& model, const LayerStack& layers, std::span<const NextTokens> sequences) {
  DecodePlan plan;
  const Architecture& architecture = *model.architecture();
  plan.longest = keys_planned_for(sequences.front().position + 1, architecture.context);
  for (const NextTokens& next : sequences) {
    auto& mine = plan.sequences.emplace_back();
    for (int64_t layer = 0; layer < architecture.layer_count(); ++layer) {
      mine.push_back(plan_layer(model, layers, layer, plan.longest, next));
    }
  }
  return plan;
}

void publish_decoded(const Architecture& architecture, std::span<const NextTokens> sequences) {
  for (const NextTokens& next : sequences) {
    for (int64_t layer = 0; layer < architecture.layer_count(); ++layer) {
      if (next.records != nullptr) {
        LayerRecord& record = (*next.records)[static_cast<size_t>(layer)];
        if (record.q) record.q->publish(1);
        if (record.input) record.input->publish(1);
      }
      if (!architecture.owns_cache(layer)) continue;
      KvCache::Store& store = next.cache->store_of(layer);
      if (store.has_k()) store.k.publish_one();
      if (store.has_v()) store.v.publish_one();
    }
  }
}

}  // namespace headscope
