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
  return config_names(config, "gpt2", {"GPT2LMHeadModel", "GPT2Model", "GPT2DoubleHeadsModel"});
}

/// Things that this model type can say and that are another model.
void refuse_other_models(const ConfigReader& reader) {
  if (reader.boolean_or("add_cross_attention", false)) {
    reader.refuse("add_cross_attention", "false (cross attention is not supported)");
  }
  // The first StarCoder models call themselves gpt2 but have one KV head and Linear weights.
  if (reader.boolean_or("multi_query", false)) {
    reader.refuse("multi_query", "false (gpt2 has no multi-query attention; gpt_bigcode is another family)");
  }
  if (reader.text_or("attention_head_type", "multihead") != "multihead") {
    reader.refuse("attention_head_type", "multihead (gpt2 has no multi-query attention)");
  }
}

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  const bool has_positions = reader.has(positions_key);
  reader.require({width_key, heads_key, layers_key, "vocab_size",
                  has_positions ? positions_key : ConfigKey{"n_positions", "n_ctx"}});
  refuse_other_models(reader);

  Architecture a;
  a.family = "gpt2";
  a.d_model = reader.integer(width_key, 1, limits::d_model);
  a.vocab_size = reader.integer("vocab_size", 1, limits::vocab);
  // n_ctx says the same in old files; the table has n_positions rows.
  a.context = reader.integer(has_positions ? positions_key : "n_ctx", 1, limits::context);
  a.norm = Norm::layer_norm;
  a.norm_epsilon = reader.positive_or("layer_norm_epsilon", 1e-5);
  a.position.scheme = PositionScheme::learned;
  a.tied_embeddings = reader.boolean_or("tie_word_embeddings", true);
  read_special_ids(reader, a, notes);

  const int64_t heads = reader.integer(heads_key, 1, limits::heads);
  if (a.d_model % heads != 0) reader.refuse(heads_key, fmt::format("a divisor of n_embd ({})", a.d_model));
  const int64_t head_dim = a.d_model / heads;

  Layer layer;
  layer.q_heads = heads;
  layer.scale = reader.boolean_or("scale_attn_weights", true) ? 1 / std::sqrt(static_cast<double>(head_dim)) : 1;
  layer.qkv_bias = layer.output_bias = true;
  layer.mlp.width = reader.integer_or("n_inner", 4 * a.d_model, 1, limits::mlp_width);
  layer.mlp.bias = true;
  layer.mlp.activation = read_activation(reader, "activation_function", Activation::gelu_tanh);

  const bool by_layer = reader.boolean_or("scale_attn_by_inverse_layer_idx", false);
  const int64_t layers = reader.integer(layers_key, 1, limits::layers);
  for (int64_t i = 0; i < layers; ++i) {
    a.layers.push_back(layer);
    a.layers.back().kv_owner = i;
    if (by_layer) a.layers.back().scale /= static_cast<double>(i + 1);
    a.kv_stores.push_back({.layer = i, .kv_heads = heads, .key_dim = head_dim, .value_dim = head_dim});
  }
  validate_config(a, source);
  return a;
}

/// A Conv1D: stored [in, out].
TensorWish conv1d(std::string name, int64_t in, int64_t out, std::vector<WeightPart> parts) {
  TensorWish wish;
  wish.name = std::move(name);
  wish.shape = {in, out};
  wish.transposed = true;
  wish.parts = std::move(parts);
  return wish;
}

void add_conv1d(std::vector<TensorWish>& wishes, const std::string& name, int64_t in, int64_t out, Weight weight,
                Weight bias, int64_t layer) {
  wishes.push_back(conv1d(name + ".weight", in, out, {{weight, layer, {{0, out}}}}));
  wishes.push_back(whole(name + ".bias", {out}, bias, layer));
}

void add_layer(std::vector<TensorWish>& wishes, const Architecture& a, int64_t i) {
  const int64_t e = a.d_model;
  const int64_t width = a.layers[static_cast<size_t>(i)].mlp.width;
  const std::string h = fmt::format("h.{}.", i);
  add_linear(wishes, h + "ln_1", {e}, Weight::attention_norm, Weight::attention_norm_bias, true, i);
  // The columns of c_attn are all queries, then all keys, then all values.
  wishes.push_back(
      conv1d(h + "attn.c_attn.weight", e, 3 * e,
             {{Weight::query, i, {{0, e}}}, {Weight::key, i, {{e, e}}}, {Weight::value, i, {{2 * e, e}}}}));
  TensorWish bias = whole(h + "attn.c_attn.bias", {3 * e}, Weight::query_bias, i);
  bias.parts = {
      {Weight::query_bias, i, {{0, e}}}, {Weight::key_bias, i, {{e, e}}}, {Weight::value_bias, i, {{2 * e, e}}}};
  wishes.push_back(std::move(bias));
  add_conv1d(wishes, h + "attn.c_proj", e, e, Weight::attention_output, Weight::attention_output_bias, i);
  add_linear(wishes, h + "ln_2", {e}, Weight::mlp_norm, Weight::mlp_norm_bias, true, i);
  add_conv1d(wishes, h + "mlp.c_fc", e, width, Weight::mlp_up, Weight::mlp_up_bias, i);
  add_conv1d(wishes, h + "mlp.c_proj", width, e, Weight::mlp_down, Weight::mlp_down_bias, i);
}

TensorSchema schema(const Architecture& a) {
  TensorSchema out;
  out.family = a.family;
  out.prefixes = {"transformer.", ""};
  out.ignored_suffixes = {".attn.bias", ".attn.masked_bias"};  // the causal mask
  out.wishes.push_back(token_embedding("wte.weight", a));
  out.wishes.push_back(whole("wpe.weight", {a.context, a.d_model}, Weight::position_embedding));
  for (int64_t i = 0; i < a.layer_count(); ++i) add_layer(out.wishes, a, i);
  add_linear(out.wishes, "ln_f", {a.d_model}, Weight::final_norm, Weight::final_norm_bias, true, -1);
  out.wishes.push_back(lm_head("lm_head.weight", a));
  return out;
}

}  // namespace

const Family gpt2_family{
    .name = "gpt2",
    .description = "GPT-2: learned positions, LayerNorm, fused QKV stored as Conv1D, biases everywhere",
    .variants = "MHA",
    .positions = "learned",
    .tokenizer = "byte-level BPE",
    .refused = "cross attention, multi-query forms",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
