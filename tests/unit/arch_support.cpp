#include "tests/unit/arch_support.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "core/base/error.h"

namespace headscope::arch_test {

Json gpt2_config(int64_t width, int64_t heads, int64_t layers) {
  return {{"model_type", "gpt2"},
          {"architectures", {"GPT2LMHeadModel"}},
          {"n_embd", width},
          {"n_head", heads},
          {"n_layer", layers},
          {"n_positions", 1024},
          {"n_ctx", 1024},
          {"vocab_size", 50257},
          {"n_inner", nullptr},
          {"activation_function", "gelu_new"},
          {"bos_token_id", 50256},
          {"eos_token_id", 50256},
          {"layer_norm_epsilon", 1e-5}};
}

Json llama_config() {
  return {{"model_type", "llama"},    {"architectures", {"LlamaForCausalLM"}},
          {"hidden_size", 64},        {"intermediate_size", 172},
          {"num_hidden_layers", 5},   {"num_attention_heads", 8},
          {"num_key_value_heads", 4}, {"head_dim", 8},
          {"vocab_size", 512},        {"max_position_embeddings", 512},
          {"rms_norm_eps", 1e-5},     {"rope_theta", 10000.0},
          {"hidden_act", "silu"},     {"tie_word_embeddings", true},
          {"bos_token_id", 1},        {"eos_token_id", 2}};
}

Json llama_3_2_1b_config() {
  return with(llama_config(), {{"hidden_size", 2048},
                               {"intermediate_size", 8192},
                               {"num_hidden_layers", 16},
                               {"num_attention_heads", 32},
                               {"num_key_value_heads", 8},
                               {"head_dim", 64},
                               {"vocab_size", 128256},
                               {"max_position_embeddings", 131072},
                               {"rope_theta", 500000.0},
                               {"rope_scaling",
                                {{"factor", 32.0},
                                 {"low_freq_factor", 1.0},
                                 {"high_freq_factor", 4.0},
                                 {"original_max_position_embeddings", 8192},
                                 {"rope_type", "llama3"}}}});
}

Json smollm2_135m_config() {
  return without(with(llama_config(), {{"hidden_size", 576},
                                       {"intermediate_size", 1536},
                                       {"num_hidden_layers", 30},
                                       {"num_attention_heads", 9},
                                       {"num_key_value_heads", 3},
                                       {"vocab_size", 49152},
                                       {"max_position_embeddings", 8192},
                                       {"rope_theta", 100000}}),
                 {"head_dim"});
}

Json tinyllama_1_1b_config() {
  return without(with(llama_config(), {{"hidden_size", 2048},
                                       {"intermediate_size", 5632},
                                       {"num_hidden_layers", 22},
                                       {"num_attention_heads", 32},
                                       {"num_key_value_heads", 4},
                                       {"vocab_size", 32000},
                                       {"max_position_embeddings", 2048},
                                       {"rope_scaling", nullptr},
                                       {"tie_word_embeddings", false}}),
                 {"head_dim", "rope_theta"});
}

Json with(Json config, const Json& changes) {
  for (const auto& [key, value] : changes.items()) config[key] = value;
  return config;
}

Json without(Json config, std::initializer_list<const char*> keys) {
  for (const char* key : keys) config.erase(key);
  return config;
}

Architecture load(const Json& config, std::vector<std::string>* notes) {
  std::vector<std::string> unread;
  return recognise_family(config, "config.json").architecture(config, "config.json", notes ? *notes : unread);
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return {};
}

Architecture uniform(int64_t layers, int64_t q_heads, int64_t kv_heads, int64_t head_dim,
                     const std::vector<int64_t>& owners) {
  Architecture a;
  a.family = "test";
  a.d_model = q_heads * head_dim;
  a.vocab_size = 100;
  a.context = 4096;
  a.position.scheme = PositionScheme::rope;
  a.position.rope.dims = head_dim;
  for (int64_t i = 0; i < layers; ++i) {
    Layer layer;
    layer.q_heads = q_heads;
    layer.scale = 1 / std::sqrt(static_cast<double>(head_dim));
    layer.rotate_query = true;
    layer.mlp.width = 4 * a.d_model;
    const bool owns = owners.empty() || std::find(owners.begin(), owners.end(), i) != owners.end();
    layer.kv_owner = owns ? i : a.kv_stores.back().layer;
    if (owns) {
      a.kv_stores.push_back(
          {.layer = i, .kv_heads = kv_heads, .key_dim = head_dim, .value_dim = head_dim, .keys_rotated = true});
    }
    a.layers.push_back(layer);
  }
  return a;
}

void set_window(Architecture& a, int64_t window, const std::function<bool(int64_t)>& layers) {
  for (int64_t i = 0; i < a.layer_count(); ++i) {
    if (layers(i)) a.layers[static_cast<size_t>(i)].window = window;
  }
  for (KvStore& store : a.kv_stores) {
    if (layers(store.layer)) store.window = window;
  }
}

TensorInfo tensor(std::string name, std::vector<int64_t> shape, DType dtype) {
  TensorInfo info;
  info.name = std::move(name);
  info.shape = std::move(shape);
  info.dtype = dtype;
  info.dtype_text = dtype == DType::f32 ? "F32" : dtype == DType::bf16 ? "BF16" : dtype == DType::f16 ? "F16" : "I64";
  return info;
}

std::vector<TensorInfo> file_for(const TensorSchema& schema, const std::string& prefix) {
  std::vector<TensorInfo> file;
  for (const TensorWish& wish : schema.wishes) {
    if (!wish.optional) file.push_back(tensor(wish.outside_prefix ? wish.name : prefix + wish.name, wish.shape));
  }
  return file;
}

TensorInfo& named(std::vector<TensorInfo>& file, const std::string& name) {
  const auto found = std::find_if(file.begin(), file.end(), [&](const TensorInfo& t) { return t.name == name; });
  if (found == file.end()) throw std::out_of_range(name);
  return *found;
}

}  // namespace headscope::arch_test
