#include <cmath>

#include "core/arch/families/common.h"
#include "core/arch/families/list.h"

namespace headscope {
namespace {

constexpr ConfigKey width_key{"n_embd", "hidden_size"};
constexpr ConfigKey heads_key{"n_head", "num_attention_heads"};
constexpr ConfigKey layers_key{"n_layer", "num_hidden_layers"};
constexpr ConfigKey positions_key{"n_positions", "max_position_embeddings"};

bool recognises(const Json& config) {
  return config_names(config, "gpt_bigcode", {"GPTBigCodeForCausalLM", "GPTBigCodeModel"});
}

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  reader.require({width_key, heads_key, layers_key, positions_key, "vocab_size"});
  if (reader.boolean_or("add_cross_attention", false)) {
    reader.refuse("add_cross_attention", "false (cross attention is not supported)");
  }
  Architecture a;
  a.family = "gpt_bigcode";
  a.d_model = reader.integer(width_key, 1, limits::d_model);
  a.vocab_size = reader.integer("vocab_size", 1, limits::vocab);
  a.context = reader.integer(positions_key, 1, limits::context);
  a.norm = Norm::layer_norm;
  a.norm_epsilon = reader.positive_or("layer_norm_epsilon", 1e-5);
  a.position.scheme = PositionScheme::learned;
  a.tied_embeddings = reader.boolean_or("tie_word_embeddings", true);
  read_special_ids(reader, a, notes);

  const int64_t heads = reader.integer(heads_key, 1, limits::heads);
  if (a.d_model % heads != 0) reader.refuse(heads_key, fmt::format("a divisor of n_embd ({})", a.d_model));
  const int64_t head_dim = a.d_model / heads;
  const int64_t kv_heads = reader.boolean_or("multi_query", true) ? 1 : heads;

  Layer layer;
  layer.q_heads = heads;
  layer.scale = reader.boolean_or("scale_attn_weights", true) ? 1 / std::sqrt(static_cast<double>(head_dim)) : 1;
  layer.qkv_bias = layer.output_bias = true;
  layer.mlp.width = reader.integer_or("n_inner", 4 * a.d_model, 1, limits::mlp_width);
  layer.mlp.bias = true;
  layer.mlp.activation = read_activation(reader, "activation_function", Activation::gelu_tanh);

  const int64_t layers = reader.integer(layers_key, 1, limits::layers);
  for (int64_t i = 0; i < layers; ++i) {
    layer.kv_owner = i;
    a.layers.push_back(layer);
    a.kv_stores.push_back({.layer = i, .kv_heads = kv_heads, .key_dim = head_dim, .value_dim = head_dim});
  }
  validate_config(a, source);
  return a;
}

/// Linear weights, unlike GPT-2's; all queries, then the key and the value, or head by head without multi_query.
void add_layer(std::vector<TensorWish>& wishes, const Architecture& a, int64_t i) {
  const int64_t e = a.d_model, width = a.layers[static_cast<size_t>(i)].mlp.width;
  const std::string h = fmt::format("h.{}.", i);
  add_linear(wishes, h + "ln_1", {e}, Weight::attention_norm, Weight::attention_norm_bias, true, i);
  add_grouped_qkv(wishes, h + "attn.c_attn", a, i);
  add_linear(wishes, h + "attn.c_proj", {e, e}, Weight::attention_output, Weight::attention_output_bias, true, i);
  add_linear(wishes, h + "ln_2", {e}, Weight::mlp_norm, Weight::mlp_norm_bias, true, i);
  add_linear(wishes, h + "mlp.c_fc", {width, e}, Weight::mlp_up, Weight::mlp_up_bias, true, i);
  add_linear(wishes, h + "mlp.c_proj", {e, width}, Weight::mlp_down, Weight::mlp_down_bias, true, i);
}

TensorSchema schema(const Architecture& a) {
  TensorSchema out;
  out.family = a.family;
  out.prefixes = {"transformer.", ""};
  out.ignored_suffixes = {".attn.bias", ".attn.masked_bias"};
  out.wishes.push_back(token_embedding("wte.weight", a));
  out.wishes.push_back(whole("wpe.weight", {a.context, a.d_model}, Weight::position_embedding));
  for (int64_t i = 0; i < a.layer_count(); ++i) add_layer(out.wishes, a, i);
  add_linear(out.wishes, "ln_f", {a.d_model}, Weight::final_norm, Weight::final_norm_bias, true, -1);
  out.wishes.push_back(lm_head("lm_head.weight", a));
  return out;
}

}  // namespace

const Family gpt_bigcode_family{
    .name = "gpt_bigcode",
    .description = "GPT-BigCode and StarCoder: GPT-2's form with one KV head for all query heads",
    .variants = "MQA, MHA",
    .positions = "learned",
    .tokenizer = "byte-level BPE",
    .refused = "cross attention",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
