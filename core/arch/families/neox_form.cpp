#include "core/arch/families/neox_form.h"

#include <cmath>

#include "core/arch/families/rope_config.h"

namespace headscope {

bool shares_layers(const Json& config) {
  const auto key = config.find("num_key_value_layers");
  return key != config.end() && !key->is_null();
}

Architecture read_neox_form(const ConfigReader& reader, std::string_view family, std::vector<std::string>& notes) {
  reader.require({"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
                  "max_position_embeddings"});
  Architecture a;
  a.family = family;
  a.d_model = reader.integer("hidden_size", 1, limits::d_model);
  a.vocab_size = reader.integer("vocab_size", 1, limits::vocab);
  a.context = reader.integer("max_position_embeddings", 1, limits::context);
  a.norm = Norm::layer_norm;
  a.norm_epsilon = reader.positive_or("layer_norm_eps", 1e-5);
  a.tied_embeddings = reader.boolean_or("tie_word_embeddings", false);
  read_special_ids(reader, a, notes);

  const int64_t heads = reader.integer("num_attention_heads", 1, limits::heads);
  const int64_t head_dim = even_head_dim(reader, "num_attention_heads", heads, a.d_model, "hidden_size");
  a.position.scheme = PositionScheme::rope;
  a.position.rope = read_rope(
      reader, {.base_key = "rotary_emb_base", .partial_key = "rotary_pct", .partial = 0.25, .partial_allowed = true},
      head_dim, a.context);
  lengthen_context(a, notes);

  Layer layer;
  layer.q_heads = heads;
  layer.scale = 1 / std::sqrt(static_cast<double>(head_dim));
  layer.rotate_query = true;
  layer.qkv_bias = layer.output_bias = reader.boolean_or("attention_bias", true);
  if (reader.boolean_or("use_parallel_residual", true)) layer.residual = Residual::parallel;
  layer.mlp.width = reader.integer("intermediate_size", 1, limits::mlp_width);
  layer.mlp.bias = true;
  layer.mlp.activation = read_activation(reader, "hidden_act", Activation::gelu);

  add_equal_layers(a, layer, {.kv_heads = heads, .key_dim = head_dim, .value_dim = head_dim, .keys_rotated = true},
                   reader.integer("num_hidden_layers", 1, limits::layers));
  return a;
}

namespace {

void add_norms_and_mlp(std::vector<TensorWish>& wishes, const Architecture& a, int64_t i) {
  const int64_t h = a.d_model, width = a.layers[static_cast<size_t>(i)].mlp.width;
  const std::string base = fmt::format("layers.{}.", i);
  add_linear(wishes, base + "input_layernorm", {h}, Weight::attention_norm, Weight::attention_norm_bias, true, i);
  add_linear(wishes, base + "attention.dense", {h, h}, Weight::attention_output, Weight::attention_output_bias,
             a.layers[static_cast<size_t>(i)].output_bias, i);
  add_linear(wishes, base + "post_attention_layernorm", {h}, Weight::mlp_norm, Weight::mlp_norm_bias, true, i);
  add_linear(wishes, base + "mlp.dense_h_to_4h", {width, h}, Weight::mlp_up, Weight::mlp_up_bias, true, i);
  add_linear(wishes, base + "mlp.dense_4h_to_h", {h, width}, Weight::mlp_down, Weight::mlp_down_bias, true, i);
}

}  // namespace

TensorSchema neox_form_schema(const Architecture& a,
                              const std::function<void(std::vector<TensorWish>&, int64_t)>& add_qkv) {
  TensorSchema out;
  out.family = a.family;
  out.prefixes = {"gpt_neox.", ""};
  out.ignored_suffixes = {".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"};
  out.wishes.push_back(token_embedding("embed_in.weight", a));
  for (int64_t i = 0; i < a.layer_count(); ++i) {
    add_qkv(out.wishes, i);
    add_norms_and_mlp(out.wishes, a, i);
  }
  add_linear(out.wishes, "final_layer_norm", {a.d_model}, Weight::final_norm, Weight::final_norm_bias, true, -1);
  out.wishes.push_back(lm_head("embed_out.weight", a));
  out.wishes.back().other_names = {"lm_head.weight"};  // transformers 5's own name of it
  return out;
}

}  // namespace headscope
