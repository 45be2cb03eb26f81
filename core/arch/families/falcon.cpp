#include <cmath>

#include "core/arch/alibi.h"
#include "core/arch/families/common.h"
#include "core/arch/families/list.h"
#include "core/arch/families/rope_config.h"

namespace headscope {
namespace {

constexpr ConfigKey width_key{"hidden_size", "n_embed"};
constexpr ConfigKey heads_key{"num_attention_heads", "n_head"};
constexpr ConfigKey layers_key{"num_hidden_layers", "n_layer"};
constexpr ConfigKey kv_heads_key{"num_kv_heads", "n_head_kv"};

bool recognises(const Json& config) {
  return config_names(config, "falcon", {"FalconForCausalLM", "FalconModel", "RWForCausalLM"}) ||
         config_names(config, "RefinedWebModel", {}) || config_names(config, "RefinedWeb", {});
}

/// new_decoder_architecture has groups; without it, multi_query is one KV head whatever num_kv_heads says (7B: 71).
int64_t read_kv_heads(const ConfigReader& reader, int64_t heads, bool grouped) {
  if (!grouped) return reader.boolean_or("multi_query", true) ? 1 : heads;
  const int64_t kv_heads = reader.integer_or(kv_heads_key, heads, 1, limits::heads);
  if (heads % kv_heads != 0) {
    reader.refuse(kv_heads_key, fmt::format("a number that must divide num_attention_heads ({})", heads));
  }
  return kv_heads;
}

/// Norms of a parallel layer: one for both parts, or one each.
bool shares_norm(const ConfigReader& reader, bool grouped) {
  return reader.integer_or("num_ln_in_parallel_attn", grouped ? 2 : 1, 1, 2) == 1;
}

void read_position(const ConfigReader& reader, int64_t heads, int64_t head_dim, Architecture& a,
                   std::vector<std::string>& notes) {
  if (!reader.boolean_or("alibi", false)) {
    a.position.scheme = PositionScheme::rope;
    a.position.rope = read_rope(reader, {}, head_dim, a.context);
    lengthen_context(a, notes);
    return;
  }
  a.position.scheme = PositionScheme::alibi;
  a.position.alibi_slopes = alibi_slopes(heads);
  a.position.alibi_scale = 1 / std::sqrt(static_cast<double>(head_dim));
  a.position.alibi_bf16 = true;
  notes.push_back(
      "ALiBi's slopes times positions are rounded to bf16, as transformers does and the model was trained, unless "
      "--exact-alibi is given");
}

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  reader.require({width_key, heads_key, layers_key, "vocab_size"});
  Architecture a;
  a.family = "falcon";
  a.d_model = reader.integer(width_key, 1, limits::d_model);
  a.vocab_size = reader.integer("vocab_size", 1, limits::vocab);
  a.context = reader.integer_or("max_position_embeddings", 2048, 1, limits::context);
  a.norm = Norm::layer_norm;
  a.norm_epsilon = reader.positive_or("layer_norm_epsilon", 1e-5);
  a.tied_embeddings = reader.boolean_or("tie_word_embeddings", true);
  read_special_ids(reader, a, notes);

  const int64_t heads = reader.integer(heads_key, 1, limits::heads);
  const int64_t head_dim = even_head_dim(reader, heads_key, heads, a.d_model, "hidden_size");
  // The first configs of 40B have neither of the two keys; their model_type says it.
  const bool grouped = reader.boolean_or("new_decoder_architecture", reader.text_or("model_type", "") == "RefinedWeb");
  const int64_t kv_heads = read_kv_heads(reader, heads, grouped);
  read_position(reader, heads, head_dim, a, notes);
  const bool rope = a.position.scheme == PositionScheme::rope;

  Layer layer;
  layer.q_heads = heads;
  layer.scale = 1 / std::sqrt(static_cast<double>(head_dim));
  layer.rotate_query = rope;
  layer.qkv_bias = layer.output_bias = layer.mlp.bias = reader.boolean_or("bias", false);
  if (grouped || reader.boolean_or("parallel_attn", true)) {
    layer.residual = Residual::parallel;
    layer.shared_input_norm = shares_norm(reader, grouped);
  }
  layer.mlp.width = reader.integer_or("ffn_hidden_size", 4 * a.d_model, 1, limits::mlp_width);
  layer.mlp.activation = read_activation(reader, "activation", Activation::gelu);

  add_equal_layers(a, layer, {.kv_heads = kv_heads, .key_dim = head_dim, .value_dim = head_dim, .keys_rotated = rope},
                   reader.integer(layers_key, 1, limits::layers));
  validate_config(a, source);
  return a;
}

void add_layer(std::vector<TensorWish>& wishes, const Architecture& a, int64_t i) {
  const int64_t h = a.d_model;
  const Layer& layer = a.layers[static_cast<size_t>(i)];
  const std::string base = fmt::format("h.{}.", i);
  const bool parallel = layer.residual == Residual::parallel, two_norms = parallel && !layer.shared_input_norm;
  add_linear(wishes, base + (two_norms ? "ln_attn" : "input_layernorm"), {h}, Weight::attention_norm,
             Weight::attention_norm_bias, true, i);
  if (!layer.shared_input_norm) {
    add_linear(wishes, base + (two_norms ? "ln_mlp" : "post_attention_layernorm"), {h}, Weight::mlp_norm,
               Weight::mlp_norm_bias, true, i);
  }
  add_grouped_qkv(wishes, base + "self_attention.query_key_value", a, i);
  add_linear(wishes, base + "self_attention.dense", {h, h}, Weight::attention_output, Weight::attention_output_bias,
             layer.output_bias, i);
  add_linear(wishes, base + "mlp.dense_h_to_4h", {layer.mlp.width, h}, Weight::mlp_up, Weight::mlp_up_bias,
             layer.mlp.bias, i);
  add_linear(wishes, base + "mlp.dense_4h_to_h", {h, layer.mlp.width}, Weight::mlp_down, Weight::mlp_down_bias,
             layer.mlp.bias, i);
}

TensorSchema schema(const Architecture& a) {
  TensorSchema out;
  out.family = a.family;
  out.prefixes = {"transformer.", ""};
  out.wishes.push_back(token_embedding("word_embeddings.weight", a));
  for (int64_t i = 0; i < a.layer_count(); ++i) add_layer(out.wishes, a, i);
  add_linear(out.wishes, "ln_f", {a.d_model}, Weight::final_norm, Weight::final_norm_bias, true, -1);
  out.wishes.push_back(lm_head("lm_head.weight", a));
  return out;
}

}  // namespace

const Family falcon_family{
    .name = "falcon",
    .description = "Falcon: RW (ALiBi, MHA), 7B (MQA) and 40B/180B (grouped KV heads), one or two norms a layer",
    .variants = "MHA, MQA, GQA",
    .positions = "rope or ALiBi",
    .tokenizer = "byte-level BPE",
    .refused = "",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
