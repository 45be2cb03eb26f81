#include "core/arch/families/headscope_schema.h"

#include "core/arch/families/common.h"

namespace headscope {
namespace {

/// Adds weights of one layer, or of none (-1), under their own names.
class Wishes {
 public:
  Wishes(std::vector<TensorWish>& wishes, int64_t layer) : wishes_(wishes), layer_(layer) {}

  void add(Weight weight, std::vector<int64_t> shape) { add_as(weight_name(weight), weight, std::move(shape)); }
  /// "layers.3.experts.0.expert_up"
  void expert(Weight weight, int64_t index, std::vector<int64_t> shape) {
    add_as(fmt::format("experts.{}.{}", index, weight_name(weight)), weight, std::move(shape));
    wishes_.back().parts.front().expert = index;
  }
  void linear(Weight weight, Weight bias, int64_t out, int64_t in, bool with_bias) {
    add(weight, {out, in});
    if (with_bias) add(bias, {out});
  }
  void norm(Weight weight, Weight bias, const Architecture& a) {
    add(weight, {a.d_model});
    if (a.norm == Norm::layer_norm) add(bias, {a.d_model});
  }

 private:
  void add_as(std::string_view name, Weight weight, std::vector<int64_t> shape) {
    const std::string prefix = layer_ < 0 ? "" : fmt::format("layers.{}.", layer_);
    wishes_.push_back(whole(fmt::format("{}{}", prefix, name), std::move(shape), weight, layer_));
  }

  std::vector<TensorWish>& wishes_;
  int64_t layer_;
};

void add_mla(Wishes& wishes, const Architecture& a, int64_t i) {
  const Layer& layer = a.layers[static_cast<size_t>(i)];
  const KvStore& store = a.store_of(i);
  const Mla& mla = *layer.mla;
  const int64_t rank = mla.query_rank, queries = mla.content_dim + store.rope_key();
  if (rank > 0) {
    wishes.linear(Weight::query_latent, Weight::query_latent_bias, rank, a.d_model, layer.qkv_bias);
    wishes.add(Weight::query_latent_norm, {rank});
  }
  wishes.add(Weight::query, {layer.q_heads * queries, rank > 0 ? rank : a.d_model});
  if (a.owns_cache(i)) {
    wishes.linear(Weight::latent, Weight::latent_bias, store.key_dim, a.d_model, layer.qkv_bias);
    wishes.add(Weight::latent_norm, {store.value_dim});
  }
  wishes.add(Weight::latent_key, {layer.q_heads * mla.content_dim, store.value_dim});
  wishes.add(Weight::latent_value, {layer.q_heads * mla.value_dim, store.value_dim});
  wishes.linear(Weight::attention_output, Weight::attention_output_bias, a.d_model, layer.q_heads * mla.value_dim,
                layer.output_bias);
}

void add_attention(Wishes& wishes, const Architecture& a, int64_t i) {
  const Layer& layer = a.layers[static_cast<size_t>(i)];
  if (layer.mla) return add_mla(wishes, a, i);
  const KvStore& store = a.store_of(i);
  const bool owns = a.owns_cache(i), has_keys = owns && store.stored != Stored::values_only;
  const int64_t queries = layer.q_heads * store.key_dim, keys = store.kv_heads * store.key_dim;
  const bool all = layer.qk_norm == QkNorm::whole;
  wishes.linear(Weight::query, Weight::query_bias, queries, a.d_model, layer.qkv_bias);
  if (has_keys) wishes.linear(Weight::key, Weight::key_bias, keys, a.d_model, layer.qkv_bias);
  if (owns) {
    const int64_t from = store.stored == Stored::keys_only ? keys : a.d_model;
    wishes.linear(Weight::value, Weight::value_bias, store.kv_heads * store.value_dim, from, layer.qkv_bias);
  }
  if (layer.qk_norm != QkNorm::none) {
    wishes.add(Weight::query_norm, {all ? queries : store.key_dim});
    if (has_keys) wishes.add(Weight::key_norm, {all ? keys : store.key_dim});
  }
  wishes.linear(Weight::attention_output, Weight::attention_output_bias, a.d_model, layer.q_heads * store.value_dim,
                layer.output_bias);
}

void add_mlp(Wishes& wishes, const Architecture& a, const Mlp& mlp) {
  if (mlp.experts == 1) {
    if (mlp.gated) wishes.linear(Weight::mlp_gate, Weight::mlp_gate_bias, mlp.width, a.d_model, mlp.bias);
    wishes.linear(Weight::mlp_up, Weight::mlp_up_bias, mlp.width, a.d_model, mlp.bias);
    wishes.linear(Weight::mlp_down, Weight::mlp_down_bias, a.d_model, mlp.width, mlp.bias);
    return;
  }
  wishes.add(Weight::router, {mlp.experts, a.d_model});
  if (mlp.router.choice_bias) wishes.add(Weight::router_bias, {mlp.experts});
  for (int64_t expert = 0; expert < mlp.experts; ++expert) {
    if (mlp.gated) wishes.expert(Weight::expert_gate, expert, {mlp.width, a.d_model});
    wishes.expert(Weight::expert_up, expert, {mlp.width, a.d_model});
    wishes.expert(Weight::expert_down, expert, {a.d_model, mlp.width});
  }
  if (mlp.shared_width == 0) return;
  if (mlp.gated) wishes.add(Weight::shared_gate, {mlp.shared_width, a.d_model});
  wishes.add(Weight::shared_up, {mlp.shared_width, a.d_model});
  wishes.add(Weight::shared_down, {a.d_model, mlp.shared_width});
}

void add_layer(std::vector<TensorWish>& all, const Architecture& a, int64_t i) {
  const Layer& layer = a.layers[static_cast<size_t>(i)];
  Wishes wishes(all, i);
  if (layer.norm_before) wishes.norm(Weight::attention_norm, Weight::attention_norm_bias, a);
  add_attention(wishes, a, i);
  if (layer.norm_after) wishes.add(Weight::attention_post_norm, {a.d_model});
  if (layer.norm_before && !layer.shared_input_norm) wishes.norm(Weight::mlp_norm, Weight::mlp_norm_bias, a);
  add_mlp(wishes, a, layer.mlp);
  if (layer.norm_after) wishes.add(Weight::mlp_post_norm, {a.d_model});
}

}  // namespace

TensorSchema headscope_schema(const Architecture& a) {
  TensorSchema out;
  out.family = a.family;
  out.prefixes = {""};
  Wishes outside(out.wishes, -1);
  out.wishes.push_back(token_embedding("token_embedding", a));
  if (a.position.scheme == PositionScheme::learned) {
    outside.add(Weight::position_embedding, {a.context + a.position.learned_offset, a.d_model});
  }
  for (int64_t i = 0; i < a.layer_count(); ++i) add_layer(out.wishes, a, i);
  outside.norm(Weight::final_norm, Weight::final_norm_bias, a);
  out.wishes.push_back(lm_head("lm_head", a));
  if (a.lm_head_bias) outside.add(Weight::lm_head_bias, {a.vocab_size});
  return out;
}

}  // namespace headscope
