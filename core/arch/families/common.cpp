#include "core/arch/families/common.h"

#include <algorithm>
#include <array>
#include <utility>

namespace headscope {

bool config_names(const Json& config, std::string_view model_type, std::initializer_list<std::string_view> classes) {
  if (!config.is_object()) return false;
  const auto type = config.find("model_type");
  if (type != config.end() && !type->is_null()) {
    return type->is_string() && type->get_ref<const std::string&>() == model_type;
  }
  const auto names = config.find("architectures");
  if (names == config.end() || !names->is_array()) return false;
  return std::any_of(names->begin(), names->end(), [&](const Json& name) {
    return name.is_string() &&
           std::find(classes.begin(), classes.end(), name.get_ref<const std::string&>()) != classes.end();
  });
}

Activation read_activation(const ConfigReader& reader, const ConfigKey& key, Activation fallback) {
  // Several names of transformers stand for one function (some differ in the last bits of a constant).
  static constexpr std::array<std::pair<std::string_view, Activation>, 10> names{{
      {"gelu", Activation::gelu},
      {"gelu_python", Activation::gelu},
      {"gelu_new", Activation::gelu_tanh},
      {"gelu_pytorch_tanh", Activation::gelu_tanh},
      {"gelu_python_tanh", Activation::gelu_tanh},
      {"gelu_fast", Activation::gelu_tanh},
      {"gelu_accurate", Activation::gelu_tanh},
      {"silu", Activation::silu},
      {"swish", Activation::silu},
      {"relu", Activation::relu},
  }};
  return reader.choice_or(key, fallback, names);
}

void read_special_ids(const ConfigReader& reader, Architecture& architecture, std::vector<std::string>& notes) {
  const auto keep = [&](int64_t id, std::string_view key) {
    if (id >= 0 && id < architecture.vocab_size) return true;
    notes.push_back(
        fmt::format("{} {} is outside the vocabulary of {} and is ignored", key, id, architecture.vocab_size));
    return false;
  };
  const std::vector<int64_t> bos = reader.ids("bos_token_id");
  if (!bos.empty() && keep(bos.front(), "bos_token_id")) architecture.bos_id = static_cast<int32_t>(bos.front());
  for (const int64_t id : reader.ids("eos_token_id")) {
    if (keep(id, "eos_token_id")) architecture.eos_ids.push_back(static_cast<int32_t>(id));
  }
}

int64_t even_head_dim(const ConfigReader& reader, const ConfigKey& heads_key, int64_t heads, int64_t width,
                      std::string_view width_name) {
  if (width % heads != 0) reader.refuse(heads_key, fmt::format("a divisor of {} ({})", width_name, width));
  return width / heads;
}

void add_equal_layers(Architecture& architecture, Layer layer, KvStore store, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    layer.kv_owner = store.layer = i;
    architecture.layers.push_back(layer);
    architecture.kv_stores.push_back(store);
  }
}

void validate_config(const Architecture& architecture, std::string_view source) {
  try {
    validate(architecture);
  } catch (const Error& error) {
    fail("{}: {}", source, error.what());
  }
}

TensorWish whole(std::string name, std::vector<int64_t> shape, Weight weight, int64_t layer) {
  TensorWish wish;
  wish.name = std::move(name);
  wish.parts = {{weight, layer, {{0, shape.front()}}}};
  wish.shape = std::move(shape);
  return wish;
}

void add_linear(std::vector<TensorWish>& wishes, const std::string& name, std::vector<int64_t> shape, Weight weight,
                Weight bias_weight, bool bias, int64_t layer) {
  const int64_t out = shape.front();
  wishes.push_back(whole(name + ".weight", std::move(shape), weight, layer));
  if (bias) wishes.push_back(whole(name + ".bias", {out}, bias_weight, layer));
}

void add_grouped_qkv(std::vector<TensorWish>& wishes, const std::string& name, const Architecture& a, int64_t layer) {
  const KvStore& store = a.store_of(layer);
  const int64_t group = a.layers[static_cast<size_t>(layer)].q_heads / store.kv_heads;
  const int64_t queries = group * store.key_dim, keys = store.key_dim, values = store.value_dim;
  std::vector<RowRange> q, k, v;
  for (int64_t head = 0, row = 0; head < store.kv_heads; ++head, row += queries + keys + values) {
    q.push_back({row, queries});
    k.push_back({row + queries, keys});
    v.push_back({row + queries + keys, values});
  }
  const int64_t rows = store.kv_heads * (queries + keys + values);
  TensorWish weight, bias;
  weight.name = name + ".weight";
  weight.shape = {rows, a.d_model};
  weight.parts = {{Weight::query, layer, q}, {Weight::key, layer, k}, {Weight::value, layer, v}};
  wishes.push_back(std::move(weight));
  if (!a.layers[static_cast<size_t>(layer)].qkv_bias) return;
  bias.name = name + ".bias";
  bias.shape = {rows};
  bias.parts = {{Weight::query_bias, layer, q}, {Weight::key_bias, layer, k}, {Weight::value_bias, layer, v}};
  wishes.push_back(std::move(bias));
}

TensorWish token_embedding(std::string name, const Architecture& a) {
  TensorWish wish = whole(std::move(name), {a.vocab_size, a.d_model}, Weight::token_embedding);
  wish.more_rows_allowed = true;
  return wish;
}

TensorWish lm_head(std::string name, const Architecture& a) {
  TensorWish wish = whole(std::move(name), {a.vocab_size, a.d_model}, Weight::lm_head);
  wish.more_rows_allowed = true;
  wish.outside_prefix = true;
  wish.optional = a.tied_embeddings;
  return wish;
}

}  // namespace headscope
