#include "core/arch/families/deepseek_form.h"

#include <algorithm>
#include <cmath>

#include "core/arch/families/llama_form.h"

namespace headscope {
namespace {

/// The absorbed form is an Architecture's: one KV head whose row is latent and rope key.
KvStore read_store(const ConfigReader& reader) {
  KvStore store;
  store.kv_heads = 1;
  store.value_dim = reader.integer("kv_lora_rank", 1, limits::head_dim / 2);
  store.key_dim = store.value_dim + reader.integer("qk_rope_head_dim", 2, limits::head_dim / 2);
  store.stored = Stored::latent;
  store.keys_rotated = true;
  return store;
}

Mla read_mla(const ConfigReader& reader) {
  Mla mla;
  if (!reader.says_null("q_lora_rank")) {  // null: queries have no latent
    reader.require({"q_lora_rank"});
    mla.query_rank = reader.integer("q_lora_rank", 1, limits::d_model);
  }
  mla.content_dim = reader.integer("qk_nope_head_dim", 1, limits::head_dim / 2);
  mla.value_dim = reader.integer("v_head_dim", 1, limits::head_dim);
  return mla;
}

/// Of the layers that have experts.
Mlp read_mixture(const ConfigReader& reader, const DeepseekForm& form, Mlp mlp) {
  reader.require({"moe_intermediate_size", "num_experts_per_tok"});
  const std::string scoring = reader.text_or("scoring_func", form.scoring);
  if (scoring != form.scoring) reader.refuse("scoring_func", fmt::format("\"{}\" or absent", form.scoring));
  mlp.experts = reader.integer("n_routed_experts", 2, limits::experts);
  mlp.experts_active = reader.integer("num_experts_per_tok", 1, mlp.experts);
  mlp.width = reader.integer("moe_intermediate_size", 1, limits::mlp_width);
  if (!reader.says_null("n_shared_experts")) {
    mlp.shared_width =
        mlp.width * reader.integer_or("n_shared_experts", form.shared_experts, 0, limits::mlp_width / mlp.width);
  }
  mlp.router = form.read_router(reader, mlp.experts);
  const int64_t open = mlp.router.groups_active * (mlp.experts / mlp.router.groups);
  if (mlp.experts_active > open) {
    reader.refuse("num_experts_per_tok", fmt::format("at most {}, the experts in topk_group of n_group groups", open));
  }
  return mlp;
}

void read_layers(const ConfigReader& reader, const DeepseekForm& form, Architecture& a) {
  const KvStore store = read_store(reader);
  Layer layer;
  layer.q_heads = reader.integer("num_attention_heads", 1, limits::heads);
  if (reader.integer_or("num_key_value_heads", layer.q_heads, 1, limits::heads) != layer.q_heads) {
    reader.refuse("num_key_value_heads", fmt::format("num_attention_heads ({}): the latent serves all", layer.q_heads));
  }
  layer.mla = read_mla(reader);
  const int64_t scored = layer.mla->content_dim + store.rope_key();
  layer.scale = read_score_factor(reader, {}) / std::sqrt(static_cast<double>(scored));
  layer.rotate_query = true;
  layer.qkv_bias = layer.output_bias = reader.boolean_or("attention_bias", false);
  layer.mlp = read_llama_mlp(reader, {});
  if (reader.boolean_or("mlp_bias", false)) reader.refuse("mlp_bias", "false or absent");
  add_equal_layers(a, layer, store, reader.integer("num_hidden_layers", 1, limits::layers));

  if (reader.says_null("n_routed_experts")) return;
  if (reader.integer_or("moe_layer_freq", 1, 1, limits::layers) != 1) reader.refuse("moe_layer_freq", "1 or absent");
  const Mlp mixture = read_mixture(reader, form, layer.mlp);
  const int64_t dense = reader.integer("first_k_dense_replace", 0, limits::layers);
  const int64_t mixed = std::max<int64_t>(0, a.layer_count() - dense);
  if (mixed > 0 && mixture.experts > limits::all_experts / mixed) {
    reader.refuse("n_routed_experts",
                  fmt::format("at most {} in each of {} layers", limits::all_experts / mixed, mixed));
  }
  for (int64_t i = dense; i < a.layer_count(); ++i) a.layers[static_cast<size_t>(i)].mlp = mixture;
}

void add_attention(std::vector<TensorWish>& wishes, const Architecture& a, int64_t i, const std::string& base) {
  const Layer& layer = a.layers[static_cast<size_t>(i)];
  const KvStore& store = a.store_of(i);
  const Mla& mla = *layer.mla;
  const int64_t h = a.d_model, latent = store.value_dim, queries = mla.content_dim + store.key_dim - latent;
  const auto add = [&](const char* name, std::vector<int64_t> shape, Weight weight, Weight bias, bool with_bias) {
    add_linear(wishes, base + name, std::move(shape), weight, bias, with_bias, i);
  };
  if (mla.query_rank > 0) {
    add("q_a_proj", {mla.query_rank, h}, Weight::query_latent, Weight::query_latent_bias, layer.qkv_bias);
    wishes.push_back(whole(base + "q_a_layernorm.weight", {mla.query_rank}, Weight::query_latent_norm, i));
    add("q_b_proj", {layer.q_heads * queries, mla.query_rank}, Weight::query, Weight::query_bias, false);
  } else {
    add("q_proj", {layer.q_heads * queries, h}, Weight::query, Weight::query_bias, false);
  }
  add("kv_a_proj_with_mqa", {store.key_dim, h}, Weight::latent, Weight::latent_bias, layer.qkv_bias);
  wishes.push_back(whole(base + "kv_a_layernorm.weight", {latent}, Weight::latent_norm, i));

  TensorWish expand;
  expand.name = base + "kv_b_proj.weight";
  expand.shape = {layer.q_heads * (mla.content_dim + mla.value_dim), latent};
  expand.parts = {{Weight::latent_key, i, {}}, {Weight::latent_value, i, {}}};
  for (int64_t head = 0, row = 0; head < layer.q_heads; ++head, row += mla.content_dim + mla.value_dim) {
    expand.parts[0].rows.push_back({row, mla.content_dim});
    expand.parts[1].rows.push_back({row + mla.content_dim, mla.value_dim});
  }
  wishes.push_back(std::move(expand));
  add("o_proj", {h, layer.q_heads * mla.value_dim}, Weight::attention_output, Weight::attention_output_bias,
      layer.output_bias);
}

/// A gated MLP of three tensors.
void add_gated(std::vector<TensorWish>& wishes, const std::string& base, int64_t width, const Architecture& a,
               const std::array<Weight, 3>& weights, int64_t layer, int64_t expert = 0) {
  const auto add = [&](const char* name, std::vector<int64_t> shape, Weight weight) {
    wishes.push_back(whole(base + name, std::move(shape), weight, layer));
    wishes.back().parts.front().expert = expert;
  };
  add("gate_proj.weight", {width, a.d_model}, weights[0]);
  add("up_proj.weight", {width, a.d_model}, weights[1]);
  add("down_proj.weight", {a.d_model, width}, weights[2]);
}

void add_mlp(std::vector<TensorWish>& wishes, const Architecture& a, int64_t i, const std::string& base) {
  const Mlp& mlp = a.layers[static_cast<size_t>(i)].mlp;
  if (mlp.experts == 1) {
    add_gated(wishes, base, mlp.width, a, {Weight::mlp_gate, Weight::mlp_up, Weight::mlp_down}, i);
    return;
  }
  wishes.push_back(whole(base + "gate.weight", {mlp.experts, a.d_model}, Weight::router, i));
  if (mlp.router.choice_bias) {
    wishes.push_back(whole(base + "gate.e_score_correction_bias", {mlp.experts}, Weight::router_bias, i));
  }
  for (int64_t expert = 0; expert < mlp.experts; ++expert) {
    add_gated(wishes, fmt::format("{}experts.{}.", base, expert), mlp.width, a,
              {Weight::expert_gate, Weight::expert_up, Weight::expert_down}, i, expert);
  }
  if (mlp.shared_width > 0) {
    add_gated(wishes, base + "shared_experts.", mlp.shared_width, a,
              {Weight::shared_gate, Weight::shared_up, Weight::shared_down}, i);
  }
}

}  // namespace

Architecture read_deepseek_form(const ConfigReader& reader, const DeepseekForm& form, std::vector<std::string>& notes) {
  reader.require({"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
                  "max_position_embeddings", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"});
  Architecture a = read_llama_frame(reader, form.family, {}, notes);
  const int64_t rope_key = reader.integer("qk_rope_head_dim", 2, limits::head_dim / 2);
  if (rope_key % 2 != 0) reader.refuse("qk_rope_head_dim", "even: rope rotates pairs");
  a.position.rope = read_rope(reader, {}, rope_key, a.context);
  const bool neighbours = !form.rope_interleave_key || reader.boolean_or("rope_interleave", true);
  if (neighbours) a.position.rope.style = RotationStyle::interleaved;
  read_layers(reader, form, a);
  lengthen_context(a, notes);
  validate_config(a, reader.source());
  return a;
}

TensorSchema deepseek_schema(const Architecture& a) {
  TensorSchema out;
  out.family = a.family;
  out.prefixes = {"model.", ""};
  out.ignored_suffixes = {".rotary_emb.inv_freq"};
  out.wishes.push_back(token_embedding("embed_tokens.weight", a));
  for (int64_t i = 0; i < a.layer_count(); ++i) {
    const std::string base = fmt::format("layers.{}.", i);
    const auto norm = [&](const char* name, Weight weight) {
      out.wishes.push_back(whole(base + name, {a.d_model}, weight, i));
    };
    norm("input_layernorm.weight", Weight::attention_norm);
    add_attention(out.wishes, a, i, base + "self_attn.");
    norm("post_attention_layernorm.weight", Weight::mlp_norm);
    add_mlp(out.wishes, a, i, base + "mlp.");
  }
  out.wishes.push_back(whole("norm.weight", {a.d_model}, Weight::final_norm));
  out.wishes.push_back(lm_head("lm_head.weight", a));
  return out;
}

Router read_router_groups(const ConfigReader& reader, int64_t experts) {
  Router router;
  router.scale = reader.positive_or("routed_scaling_factor", 1);
  router.groups = reader.integer_or("n_group", 1, 1, experts);
  if (experts % router.groups != 0)
    reader.refuse("n_group", fmt::format("a divisor of n_routed_experts ({})", experts));
  router.groups_active = reader.integer_or("topk_group", router.groups, 1, router.groups);
  return router;
}

}  // namespace headscope
