#include "core/arch/families/llama_form.h"

#include <cmath>

namespace headscope {
namespace {

int64_t read_head_dim(const ConfigReader& reader, int64_t d_model, int64_t heads, std::optional<int64_t> fallback) {
  if (!reader.has("head_dim") && !fallback) {
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
  const int64_t head_dim = reader.integer_or("head_dim", fallback.value_or(0), 1, limits::head_dim);
  if (head_dim % 2 != 0) reader.refuse("head_dim", "even: rope rotates pairs");
  return head_dim;
}

/// One tensor with the rows of several weights below each other.
TensorWish fused(std::string name, int64_t in, int64_t layer, const std::vector<std::pair<Weight, int64_t>>& rows) {
  TensorWish wish;
  wish.name = std::move(name);
  int64_t begin = 0;
  for (const auto& [weight, count] : rows) {
    wish.parts.push_back({weight, layer, {{begin, count}}});
    begin += count;
  }
  wish.shape = {begin, in};
  return wish;
}

/// Adds the norms behind the attention under their names in the file, which depend on how many there are.
template <class AddNorm>
void add_later_norms(const Layer& layer, const AddNorm& add) {
  if (!layer.norm_after) {
    add("post_attention_layernorm", Weight::mlp_norm);
    return;
  }
  add("post_attention_layernorm", Weight::attention_post_norm);
  if (layer.norm_before) add("pre_feedforward_layernorm", Weight::mlp_norm);
  add("post_feedforward_layernorm", Weight::mlp_post_norm);
}

void add_layer(std::vector<TensorWish>& wishes, const Architecture& a, int64_t i, const LlamaFiles& files) {
  const Layer& layer = a.layers[static_cast<size_t>(i)];
  const KvStore& store = a.store_of(i);
  const int64_t h = a.d_model, width = layer.mlp.width;
  const int64_t queries = layer.q_heads * store.key_dim, keys = store.kv_heads * store.key_dim;
  const int64_t values = store.kv_heads * store.value_dim;
  const std::string base = fmt::format("layers.{}.", i), attention = base + "self_attn.", mlp = base + "mlp.";
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, Weight weight, Weight bias,
                       bool with_bias) { add_linear(wishes, name, std::move(shape), weight, bias, with_bias, i); };
  const auto add_norm = [&](const std::string& name, int64_t size, Weight weight) {
    wishes.push_back(whole(name + ".weight", {size}, weight, i));
    wishes.back().plus_one = files.norms_plus_one;
  };
  if (layer.norm_before) add_norm(base + "input_layernorm", h, Weight::attention_norm);
  if (files.fused) {
    wishes.push_back(fused(attention + "qkv_proj.weight", h, i,
                           {{Weight::query, queries}, {Weight::key, keys}, {Weight::value, values}}));
  } else {
    add(attention + "q_proj", {queries, h}, Weight::query, Weight::query_bias, layer.qkv_bias);
    add(attention + "k_proj", {keys, h}, Weight::key, Weight::key_bias, layer.qkv_bias);
    add(attention + "v_proj", {values, h}, Weight::value, Weight::value_bias, layer.qkv_bias);
  }
  if (layer.qk_norm != QkNorm::none) {
    const bool all = layer.qk_norm == QkNorm::whole;
    add_norm(attention + "q_norm", all ? queries : store.key_dim, Weight::query_norm);
    add_norm(attention + "k_norm", all ? keys : store.key_dim, Weight::key_norm);
  }
  add(attention + "o_proj", {h, layer.q_heads * store.value_dim}, Weight::attention_output,
      Weight::attention_output_bias, layer.output_bias);
  add_later_norms(layer, [&](const char* name, Weight weight) { add_norm(base + name, h, weight); });
  if (files.fused) {
    wishes.push_back(fused(mlp + "gate_up_proj.weight", h, i, {{Weight::mlp_gate, width}, {Weight::mlp_up, width}}));
  } else {
    add(mlp + "gate_proj", {width, h}, Weight::mlp_gate, Weight::mlp_gate_bias, layer.mlp.bias);
    add(mlp + "up_proj", {width, h}, Weight::mlp_up, Weight::mlp_up_bias, layer.mlp.bias);
  }
  add(mlp + "down_proj", {h, width}, Weight::mlp_down, Weight::mlp_down_bias, layer.mlp.bias);
}

}  // namespace

Architecture read_llama_frame(const ConfigReader& reader, std::string_view family, const LlamaDefaults& defaults,
                              std::vector<std::string>& notes) {
  reader.require({"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
                  "max_position_embeddings"});
  Architecture a;
  a.family = family;
  a.d_model = reader.integer("hidden_size", 1, limits::d_model);
  a.vocab_size = reader.integer("vocab_size", 1, limits::vocab);
  a.context = reader.integer("max_position_embeddings", 1, limits::context);
  a.norm = Norm::rms_norm;
  a.norm_epsilon = reader.positive_or("rms_norm_eps", defaults.norm_epsilon);
  a.tied_embeddings = reader.boolean_or("tie_word_embeddings", defaults.tied_embeddings);
  read_special_ids(reader, a, notes);
  a.position.scheme = PositionScheme::rope;
  return a;
}

Mlp read_llama_mlp(const ConfigReader& reader, const LlamaDefaults& defaults) {
  Mlp mlp;
  mlp.width = reader.integer("intermediate_size", 1, limits::mlp_width);
  mlp.gated = true;
  mlp.activation = read_activation(reader, defaults.activation_key, defaults.activation);
  return mlp;
}

Architecture read_llama_form(const ConfigReader& reader, std::string_view family, const LlamaDefaults& defaults,
                             std::vector<std::string>& notes) {
  Architecture a = read_llama_frame(reader, family, defaults, notes);
  const int64_t heads = reader.integer("num_attention_heads", 1, limits::heads);
  const int64_t kv_heads = reader.integer_or("num_key_value_heads", heads, 1, limits::heads);
  if (heads % kv_heads != 0) {
    reader.refuse("num_key_value_heads", fmt::format("a number that must divide num_attention_heads ({})", heads));
  }
  const int64_t head_dim = read_head_dim(reader, a.d_model, heads, defaults.head_dim);
  a.position.rope = read_rope(reader, defaults.rope, head_dim, a.context);
  lengthen_context(a, notes);

  Layer layer;
  layer.q_heads = heads;
  layer.scale = 1 / std::sqrt(static_cast<double>(head_dim));
  layer.rotate_query = true;
  layer.qkv_bias = layer.output_bias = reader.boolean_or("attention_bias", false);
  layer.mlp = read_llama_mlp(reader, defaults);
  add_equal_layers(a, layer, {.kv_heads = kv_heads, .key_dim = head_dim, .value_dim = head_dim, .keys_rotated = true},
                   reader.integer("num_hidden_layers", 1, limits::layers));
  return a;
}

int64_t read_window(const ConfigReader& reader, int64_t fallback) {
  if (reader.says_null("sliding_window")) return 0;
  return reader.integer_or("sliding_window", fallback, 1, limits::context);
}

std::vector<std::string> read_layer_types(const ConfigReader& reader, const Architecture& a) {
  std::vector<std::string> types = reader.texts("layer_types");
  if (!types.empty() && types.size() != a.layers.size()) {
    reader.refuse("layer_types", fmt::format("a list of {} texts, one for each layer", a.layers.size()));
  }
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i] == "sliding_attention" || types[i] == "full_attention") continue;
    fail("{}: layer_types[{}] must be \"sliding_attention\" or \"full_attention\", but is {}", reader.source(), i,
         headscope::quoted(types[i]));
  }
  return types;
}

void set_windows(const ConfigReader& reader, int64_t window, const std::function<bool(int64_t layer)>& slides,
                 Architecture& a) {
  const std::vector<std::string> types = read_layer_types(reader, a);
  for (size_t i = 0; i < a.layers.size(); ++i) {
    const bool sliding = types.empty() ? slides(static_cast<int64_t>(i)) : types[i] == "sliding_attention";
    if (sliding) a.layers[i].window = a.kv_stores[i].window = window;
  }
}

TensorSchema llama_form_schema(const Architecture& a, const LlamaFiles& files) {
  TensorSchema out;
  out.family = a.family;
  out.prefixes = {"model.", ""};
  out.ignored_suffixes = {".rotary_emb.inv_freq"};
  out.wishes.push_back(token_embedding("embed_tokens.weight", a));
  for (int64_t i = 0; i < a.layer_count(); ++i) add_layer(out.wishes, a, i, files);
  out.wishes.push_back(whole("norm.weight", {a.d_model}, Weight::final_norm));
  out.wishes.back().plus_one = files.norms_plus_one;
  out.wishes.push_back(lm_head("lm_head.weight", a));
  return out;
}

}  // namespace headscope
