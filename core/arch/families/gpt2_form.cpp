#include "core/arch/families/gpt2_form.h"

#include <cmath>

namespace headscope {
namespace {

constexpr ConfigKey width_key{"n_embd", "hidden_size"};
constexpr ConfigKey heads_key{"n_head", "num_attention_heads"};
constexpr ConfigKey layers_key{"n_layer", "num_hidden_layers"};

}  // namespace

void require_gpt2_keys(const ConfigReader& reader, const ConfigKey& positions) {
  reader.require({width_key, heads_key, layers_key, "vocab_size", positions});
  if (reader.boolean_or("add_cross_attention", false)) {
    reader.refuse("add_cross_attention", "false (cross attention is not supported)");
  }
}

Architecture read_gpt2_form(const ConfigReader& reader, std::string_view family, const ConfigKey& positions,
                            int64_t kv_heads, std::vector<std::string>& notes) {
  Architecture a;
  a.family = family;
  a.d_model = reader.integer(width_key, 1, limits::d_model);
  a.vocab_size = reader.integer("vocab_size", 1, limits::vocab);
  a.context = reader.integer(positions, 1, limits::context);
  a.norm = Norm::layer_norm;
  a.norm_epsilon = reader.positive_or("layer_norm_epsilon", 1e-5);
  a.position.scheme = PositionScheme::learned;
  a.tied_embeddings = reader.boolean_or("tie_word_embeddings", true);
  read_special_ids(reader, a, notes);

  const int64_t heads = reader.integer(heads_key, 1, limits::heads);
  const int64_t head_dim = even_head_dim(reader, heads_key, heads, a.d_model, "n_embd");

  Layer layer;
  layer.q_heads = heads;
  layer.scale = reader.boolean_or("scale_attn_weights", true) ? 1 / std::sqrt(static_cast<double>(head_dim)) : 1;
  layer.qkv_bias = layer.output_bias = true;
  layer.mlp.width = reader.integer_or("n_inner", 4 * a.d_model, 1, limits::mlp_width);
  layer.mlp.bias = true;
  layer.mlp.activation = read_activation(reader, "activation_function", Activation::gelu_tanh);
  add_equal_layers(a, layer, {.kv_heads = kv_heads > 0 ? kv_heads : heads, .key_dim = head_dim, .value_dim = head_dim},
                   reader.integer(layers_key, 1, limits::layers));
  return a;
}

TensorSchema gpt2_form_schema(const Architecture& a,
                              const std::function<void(std::vector<TensorWish>&, int64_t)>& add_layer) {
  TensorSchema out;
  out.family = a.family;
  out.prefixes = {"transformer.", ""};
  out.ignored_suffixes = {".attn.bias", ".attn.masked_bias"};  // the causal mask
  out.wishes.push_back(token_embedding("wte.weight", a));
  out.wishes.push_back(whole("wpe.weight", {a.context, a.d_model}, Weight::position_embedding));
  for (int64_t i = 0; i < a.layer_count(); ++i) add_layer(out.wishes, i);
  add_linear(out.wishes, "ln_f", {a.d_model}, Weight::final_norm, Weight::final_norm_bias, true, -1);
  out.wishes.push_back(lm_head("lm_head.weight", a));
  return out;
}

}  // namespace headscope
