#include <array>
#include <cmath>

#include "core/arch/families/common.h"
#include "core/arch/families/list.h"

namespace headscope {
namespace {

bool recognises(const Json& config) { return config_names(config, "llama", {"LlamaForCausalLM", "LlamaModel"}); }

/// The rope object of a config: transformers 4 writes rope_scaling (and rope_theta beside it), transformers 5
/// rope_parameters; a non-empty rope_scaling wins, as it does there. Empty when there is neither.
std::optional<ConfigReader> rope_section(const ConfigReader& reader, const Json& config) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!reader.has(key) || config.at(key).empty()) continue;
    return reader.section(key);
  }
  return std::nullopt;
}

RopeScaling read_scaling(const ConfigReader& reader, const ConfigReader& rope, int64_t context) {
  using Kind = RopeScaling::Kind;
  static constexpr std::array<std::pair<std::string_view, Kind>, 4> kinds{{
      {"default", Kind::none},
      {"linear", Kind::linear},
      {"llama3", Kind::llama3},
      {"dynamic", Kind::dynamic},
  }};
  RopeScaling out;
  out.kind = rope.choice_or({"rope_type", "type"}, Kind::none, kinds);
  if (out.kind == Kind::none) return out;
  if (out.kind == Kind::llama3) rope.require({"factor", "low_freq_factor", "high_freq_factor"});
  out.factor = rope.positive("factor");
  out.original_context = context;
  if (out.kind != Kind::llama3) return out;

  out.low_freq_factor = rope.positive("low_freq_factor");
  out.high_freq_factor = rope.positive("high_freq_factor");
  if (out.high_freq_factor <= out.low_freq_factor) {
    rope.refuse("high_freq_factor", fmt::format("above low_freq_factor ({})", out.low_freq_factor));
  }
  const ConfigKey original = "original_max_position_embeddings";
  const ConfigReader& holder = reader.has(original) ? reader : rope;
  out.original_context = holder.integer_or(original, context, 1, limits::context);
  return out;
}

/// transformers ignores a partial_rotary_factor of llama models with default rope and fails with scaled ones;
/// other readers apply it. No reading is safe, so it is refused.
void refuse_partial_rotation(const ConfigReader& reader) {
  if (reader.positive_or("partial_rotary_factor", 1) != 1) {
    reader.refuse("partial_rotary_factor", "1 or absent in a llama model");
  }
}

/// Angles stay finite and fall with the index from 1 up; a smaller base makes no sense as a wavelength's base.
double read_base(const ConfigReader& reader, double fallback) {
  const double base = reader.positive_or("rope_theta", fallback);
  if (base < 1) reader.refuse("rope_theta", "at least 1");
  return base;
}

Rope read_rope(const ConfigReader& reader, const Json& config, int64_t head_dim, int64_t context) {
  Rope rope;
  rope.style = RotationStyle::rotate_half;
  rope.dims = head_dim;
  rope.base = read_base(reader, 10000);
  refuse_partial_rotation(reader);
  if (const std::optional<ConfigReader> section = rope_section(reader, config)) {
    rope.base = read_base(*section, rope.base);
    refuse_partial_rotation(*section);
    rope.scaling = read_scaling(reader, *section, context);
  }
  return rope;
}

int64_t read_head_dim(const ConfigReader& reader, int64_t d_model, int64_t heads) {
  if (!reader.has("head_dim")) {
    if (d_model % heads != 0) {
      reader.refuse("num_attention_heads",
                    fmt::format("a divisor of hidden_size ({}) when head_dim is not given", d_model));
    }
    if (d_model / heads % 2 != 0) {
      fail("{}: hidden_size / num_attention_heads = {} is the size of a head and must be even: rope rotates pairs",
           reader.source(), d_model / heads);
    }
    return d_model / heads;
  }
  const int64_t head_dim = reader.integer("head_dim", 1, limits::head_dim);
  if (head_dim % 2 != 0) reader.refuse("head_dim", "even: rope rotates pairs");
  return head_dim;
}

void add_notes(const ConfigReader& reader, std::vector<std::string>& notes) {
  if (reader.integer_or("pretraining_tp", 1, 0, limits::heads) > 1) {
    notes.push_back("pretraining_tp only changes the order of sums in training and is ignored");
  }
  if (reader.has("sliding_window")) notes.push_back("llama models have no sliding window: sliding_window is ignored");
}

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  reader.require({"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
                  "max_position_embeddings"});
  Architecture a;
  a.family = "llama";
  a.d_model = reader.integer("hidden_size", 1, limits::d_model);
  a.vocab_size = reader.integer("vocab_size", 1, limits::vocab);
  a.context = reader.integer("max_position_embeddings", 1, limits::context);
  a.norm = Norm::rms_norm;
  a.norm_epsilon = reader.positive_or("rms_norm_eps", 1e-6);
  a.tied_embeddings = reader.boolean_or("tie_word_embeddings", false);
  read_special_ids(reader, a, notes);
  add_notes(reader, notes);

  const int64_t heads = reader.integer("num_attention_heads", 1, limits::heads);
  const int64_t kv_heads = reader.integer_or("num_key_value_heads", heads, 1, limits::heads);
  if (heads % kv_heads != 0) {
    reader.refuse("num_key_value_heads", fmt::format("a number that must divide num_attention_heads ({})", heads));
  }
  const int64_t head_dim = read_head_dim(reader, a.d_model, heads);
  a.position.scheme = PositionScheme::rope;
  a.position.rope = read_rope(reader, config, head_dim, a.context);

  Layer layer;
  layer.q_heads = heads;
  layer.scale = 1 / std::sqrt(static_cast<double>(head_dim));
  layer.rotate_query = true;
  layer.qkv_bias = layer.output_bias = reader.boolean_or("attention_bias", false);
  layer.mlp.width = reader.integer("intermediate_size", 1, limits::mlp_width);
  layer.mlp.gated = true;
  layer.mlp.bias = reader.boolean_or("mlp_bias", false);
  layer.mlp.activation = read_activation(reader, "hidden_act", Activation::silu);

  const int64_t layers = reader.integer("num_hidden_layers", 1, limits::layers);
  for (int64_t i = 0; i < layers; ++i) {
    layer.kv_owner = i;
    a.layers.push_back(layer);
    a.kv_stores.push_back(
        {.layer = i, .kv_heads = kv_heads, .key_dim = head_dim, .value_dim = head_dim, .keys_rotated = true});
  }
  validate_config(a, source);
  return a;
}

void add_layer(std::vector<TensorWish>& wishes, const Architecture& a, int64_t i) {
  const Layer& layer = a.layers[static_cast<size_t>(i)];
  const KvStore& store = a.store_of(i);
  const int64_t h = a.d_model, width = layer.mlp.width;
  const int64_t queries = layer.q_heads * store.key_dim, values = layer.q_heads * store.value_dim;
  const std::string base = fmt::format("layers.{}.", i), attention = base + "self_attn.", mlp = base + "mlp.";
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, Weight weight, Weight bias,
                       bool with_bias) { add_linear(wishes, name, std::move(shape), weight, bias, with_bias, i); };
  add(base + "input_layernorm", {h}, Weight::attention_norm, Weight::attention_norm_bias, false);
  add(attention + "q_proj", {queries, h}, Weight::query, Weight::query_bias, layer.qkv_bias);
  add(attention + "k_proj", {store.kv_heads * store.key_dim, h}, Weight::key, Weight::key_bias, layer.qkv_bias);
  add(attention + "v_proj", {store.kv_heads * store.value_dim, h}, Weight::value, Weight::value_bias, layer.qkv_bias);
  add(attention + "o_proj", {h, values}, Weight::attention_output, Weight::attention_output_bias, layer.output_bias);
  add(base + "post_attention_layernorm", {h}, Weight::mlp_norm, Weight::mlp_norm_bias, false);
  add(mlp + "gate_proj", {width, h}, Weight::mlp_gate, Weight::mlp_gate_bias, layer.mlp.bias);
  add(mlp + "up_proj", {width, h}, Weight::mlp_up, Weight::mlp_up_bias, layer.mlp.bias);
  add(mlp + "down_proj", {h, width}, Weight::mlp_down, Weight::mlp_down_bias, layer.mlp.bias);
}

TensorSchema schema(const Architecture& a) {
  TensorSchema out;
  out.family = a.family;
  out.prefixes = {"model.", ""};
  out.ignored_suffixes = {".rotary_emb.inv_freq"};
  out.wishes.push_back(token_embedding("embed_tokens.weight", a));
  for (int64_t i = 0; i < a.layer_count(); ++i) add_layer(out.wishes, a, i);
  out.wishes.push_back(whole("norm.weight", {a.d_model}, Weight::final_norm));
  out.wishes.push_back(lm_head("lm_head.weight", a));
  return out;
}

}  // namespace

const Family llama_family{
    .name = "llama",
    .description = "Llama 1 to 3 and models of that form: rope, RMSNorm, gated MLP, grouped KV heads",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
