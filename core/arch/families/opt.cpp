#include <cmath>

#include "core/arch/families/common.h"
#include "core/arch/families/list.h"

namespace headscope {
namespace {

constexpr int64_t unused_positions = 2;  ///< rows at the start of the table that no token reads

bool recognises(const Json& config) { return config_names(config, "opt", {"OPTForCausalLM", "OPTModel"}); }

/// Forms of single sizes (350m) and of training.
void refuse_other_forms(const ConfigReader& reader, int64_t d_model) {
  if (!reader.boolean_or("do_layer_norm_before", true)) {
    reader.refuse("do_layer_norm_before", "true (norms after the residual are not supported)");
  }
  if (reader.integer_or("word_embed_proj_dim", d_model, 1, limits::d_model) != d_model) {
    reader.refuse("word_embed_proj_dim",
                  fmt::format("hidden_size ({}): projected embeddings are not supported", d_model));
  }
  if (reader.boolean_or("_remove_final_layer_norm", false)) {
    reader.refuse("_remove_final_layer_norm", "false (a model without a final norm is not supported)");
  }
  if (!reader.boolean_or("layer_norm_elementwise_affine", true)) {
    reader.refuse("layer_norm_elementwise_affine", "true (norms without weights are not supported)");
  }
}

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  reader.require(
      {"hidden_size", "ffn_dim", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings"});
  Architecture a;
  a.family = "opt";
  a.d_model = reader.integer("hidden_size", 1, limits::d_model);
  refuse_other_forms(reader, a.d_model);
  a.vocab_size = reader.integer("vocab_size", 1, limits::vocab);
  a.context = reader.integer("max_position_embeddings", 1, limits::context);
  a.norm = Norm::layer_norm;
  a.position.scheme = PositionScheme::learned;
  a.position.learned_offset = unused_positions;
  a.tied_embeddings = reader.boolean_or("tie_word_embeddings", true);
  read_special_ids(reader, a, notes);
  notes.push_back(
      "OPT expects </s> before the text: a tokenizer.json puts it there, vocab.json and merges.txt only where "
      "tokenizer_config.json says add_bos_token");

  const int64_t heads = reader.integer("num_attention_heads", 1, limits::heads);
  const int64_t head_dim = even_head_dim(reader, "num_attention_heads", heads, a.d_model, "hidden_size");

  Layer layer;
  layer.q_heads = heads;
  layer.scale = 1 / std::sqrt(static_cast<double>(head_dim));
  layer.qkv_bias = layer.output_bias = layer.mlp.bias = reader.boolean_or("enable_bias", true);
  layer.mlp.width = reader.integer("ffn_dim", 1, limits::mlp_width);
  layer.mlp.activation = read_activation(reader, "activation_function", Activation::relu);

  add_equal_layers(a, layer, {.kv_heads = heads, .key_dim = head_dim, .value_dim = head_dim},
                   reader.integer("num_hidden_layers", 1, limits::layers));
  validate_config(a, source);
  return a;
}

void add_layer(std::vector<TensorWish>& wishes, const Architecture& a, int64_t i) {
  const int64_t h = a.d_model;
  const Layer& layer = a.layers[static_cast<size_t>(i)];
  const std::string base = fmt::format("layers.{}.", i), attention = base + "self_attn.";
  const bool bias = layer.qkv_bias;
  add_linear(wishes, base + "self_attn_layer_norm", {h}, Weight::attention_norm, Weight::attention_norm_bias, true, i);
  add_linear(wishes, attention + "q_proj", {h, h}, Weight::query, Weight::query_bias, bias, i);
  add_linear(wishes, attention + "k_proj", {h, h}, Weight::key, Weight::key_bias, bias, i);
  add_linear(wishes, attention + "v_proj", {h, h}, Weight::value, Weight::value_bias, bias, i);
  add_linear(wishes, attention + "out_proj", {h, h}, Weight::attention_output, Weight::attention_output_bias, bias, i);
  add_linear(wishes, base + "final_layer_norm", {h}, Weight::mlp_norm, Weight::mlp_norm_bias, true, i);
  add_linear(wishes, base + "fc1", {layer.mlp.width, h}, Weight::mlp_up, Weight::mlp_up_bias, layer.mlp.bias, i);
  add_linear(wishes, base + "fc2", {h, layer.mlp.width}, Weight::mlp_down, Weight::mlp_down_bias, layer.mlp.bias, i);
}

TensorSchema schema(const Architecture& a) {
  TensorSchema out;
  out.family = a.family;
  out.prefixes = {"model.decoder.", "decoder.", ""};
  out.wishes.push_back(token_embedding("embed_tokens.weight", a));
  out.wishes.push_back(
      whole("embed_positions.weight", {a.context + unused_positions, a.d_model}, Weight::position_embedding));
  for (int64_t i = 0; i < a.layer_count(); ++i) add_layer(out.wishes, a, i);
  add_linear(out.wishes, "final_layer_norm", {a.d_model}, Weight::final_norm, Weight::final_norm_bias, true, -1);
  out.wishes.push_back(lm_head("lm_head.weight", a));
  return out;
}

}  // namespace

const Family opt_family{
    .name = "opt",
    .description = "OPT: learned positions from row 2 on, LayerNorm, ReLU, separate Q, K and V",
    .variants = "MHA",
    .positions = "learned, from row 2 on",
    .tokenizer = "byte-level BPE",
    .refused = "350m (norms after the residual, projected embeddings)",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
