#include "tests/run/random_model.h"

#include <cmath>
#include <random>
#include <string>

#include <ATen/ATen.h>

#include "core/model/weights.h"

namespace headscope {
namespace {

/// Normal numbers, seeded by the tensor's name: another field of the architecture leaves all other weights as they
/// are, so that a test which changes one field cannot be fooled.
class RandomTensors {
 public:
  explicit RandomTensors(uint64_t seed) : seed_(seed) {}
  at::Tensor normal(const std::string& name, std::vector<int64_t> shape, float deviation, float mean = 0) const {
    std::seed_seq seeds(name.begin(), name.end());
    std::vector<uint32_t> start(2);
    seeds.generate(start.begin(), start.end());
    std::mt19937_64 random(seed_ * 1000003 + start[0]);
    std::normal_distribution<float> distribution(mean, deviation);
    at::Tensor tensor = at::empty(shape, at::kFloat);
    float* values = tensor.data_ptr<float>();
    for (int64_t i = 0; i < tensor.numel(); ++i) values[i] = distribution(random);
    return tensor;
  }
  Linear linear(const std::string& name, int64_t out, int64_t in, bool bias) const {
    const at::Tensor weight = normal(name, {out, in}, 1.5f / std::sqrt(static_cast<float>(in)));
    return {weight, bias ? normal(name + ".bias", {out}, 0.3f) : at::Tensor()};
  }
  NormWeights norm(const std::string& name, const Architecture& a) const {
    const bool bias = a.norm == Norm::layer_norm;
    return {normal(name, {a.d_model}, 0.1f, 1), bias ? normal(name + ".bias", {a.d_model}, 0.1f) : at::Tensor()};
  }

 private:
  uint64_t seed_;
};

void add_mla(const Architecture& a, int64_t index, const RandomTensors& make, LayerWeights& weights) {
  const Layer& layer = a.layers[static_cast<size_t>(index)];
  const KvStore& store = a.store_of(index);
  const Mla& mla = *layer.mla;
  const auto name = [&](const char* part) { return std::to_string(index) + part; };
  const int64_t queries = layer.q_heads * (mla.content_dim + store.key_dim - store.value_dim);
  const int64_t rank = mla.query_rank, input = rank > 0 ? rank : a.d_model;
  weights.query = make.linear(name("query"), queries, input, false);
  weights.query_latent = make.linear(name("query_latent"), std::max<int64_t>(1, rank), a.d_model, layer.qkv_bias);
  weights.query_latent_norm = make.normal(name("query_latent_norm"), {rank}, 0.1f, 1);
  weights.latent = make.linear(name("latent"), store.key_dim, a.d_model, layer.qkv_bias);
  weights.latent_norm = make.normal(name("latent_norm"), {store.value_dim}, 0.1f, 1);
  const auto expand = [&](const char* part, int64_t dim) {
    return make.linear(name(part), layer.q_heads * dim, store.value_dim, false).weight;
  };
  weights.latent_key = expand("latent_key", mla.content_dim);
  weights.latent_value = expand("latent_value", mla.value_dim);
  weights.output = make.linear(name("output"), a.d_model, layer.q_heads * mla.value_dim, layer.output_bias);
}

MlpWeights mlp_weights(const std::string& name, int64_t width, const Architecture& a, const RandomTensors& make) {
  return {make.linear(name + "gate", width, a.d_model, false), make.linear(name + "up", width, a.d_model, false),
          make.linear(name + "down", a.d_model, width, false)};
}

void add_experts(const Architecture& a, int64_t index, const RandomTensors& make, LayerWeights& weights) {
  const Mlp& mlp = a.layers[static_cast<size_t>(index)].mlp;
  const std::string layer = std::to_string(index);
  weights.router = make.normal(layer + "router", {mlp.experts, a.d_model}, 0.2f);
  weights.router_bias = make.normal(layer + "router_bias", {mlp.experts}, 0.3f);
  for (int64_t expert = 0; expert < mlp.experts; ++expert) {
    weights.experts.push_back(mlp_weights(layer + "expert" + std::to_string(expert), mlp.width, a, make));
  }
  if (mlp.shared_width > 0) weights.shared = mlp_weights(layer + "shared", mlp.shared_width, a, make);
}

LayerWeights layer_weights(const Architecture& a, int64_t index, const RandomTensors& make) {
  const Layer& layer = a.layers[static_cast<size_t>(index)];
  const KvStore& store = a.store_of(index);
  const auto name = [&](const char* part) { return std::to_string(index) + part; };
  LayerWeights weights;
  weights.attention_norm = make.norm(name("attention_norm"), a);
  weights.mlp_norm = make.norm(name("mlp_norm"), a);
  weights.attention_post_norm = make.norm(name("attention_post_norm"), a);
  weights.mlp_post_norm = make.norm(name("mlp_post_norm"), a);
  const int64_t query_norm = layer.qk_norm == QkNorm::whole ? layer.q_heads * store.key_dim : store.key_dim;
  const int64_t key_norm = layer.qk_norm == QkNorm::whole ? store.kv_heads * store.key_dim : store.key_dim;
  weights.query_norm = make.normal(name("query_norm"), {query_norm}, 0.1f, 1);
  weights.key_norm = make.normal(name("key_norm"), {key_norm}, 0.1f, 1);
  weights.query = make.linear(name("query"), layer.q_heads * store.key_dim, a.d_model, layer.qkv_bias);
  weights.key = make.linear(name("key"), store.kv_heads * store.key_dim, a.d_model, layer.qkv_bias);
  const int64_t value_input = store.stored == Stored::keys_only ? store.kv_heads * store.key_dim : a.d_model;
  weights.value = make.linear(name("value"), store.kv_heads * store.value_dim, value_input, layer.qkv_bias);
  weights.output = make.linear(name("output"), a.d_model, layer.q_heads * store.value_dim, layer.output_bias);
  weights.mlp.gate = make.linear(name("gate"), layer.mlp.width, a.d_model, layer.mlp.bias);
  weights.mlp.up = make.linear(name("up"), layer.mlp.width, a.d_model, layer.mlp.bias);
  weights.mlp.down = make.linear(name("down"), a.d_model, layer.mlp.width, layer.mlp.bias);
  if (layer.mla) add_mla(a, index, make, weights);
  if (layer.mlp.experts > 1) add_experts(a, index, make, weights);
  return weights;
}

}  // namespace

Architecture small_architecture() {
  Architecture a;
  a.family = "llama";
  a.d_model = 24;
  a.vocab_size = 61;
  a.context = 80;
  a.norm = Norm::rms_norm;
  a.position.scheme = PositionScheme::rope;
  a.position.rope.dims = 6;
  for (int64_t index = 0; index < 3; ++index) {
    Layer layer;
    layer.q_heads = 4;
    layer.kv_owner = index;
    layer.scale = 0.7;
    layer.rotate_query = true;
    layer.mlp.width = 40;
    layer.mlp.gated = true;
    layer.mlp.activation = Activation::silu;
    a.layers.push_back(layer);
    KvStore store;
    store.layer = index;
    store.kv_heads = 2;
    store.key_dim = store.value_dim = 6;
    store.keys_rotated = true;
    a.kv_stores.push_back(store);
  }
  return a;
}

Architecture small_gpt2_architecture() {
  Architecture a = small_architecture();
  a.family = "gpt2";
  a.norm = Norm::layer_norm;
  a.position = {};
  a.position.scheme = PositionScheme::learned;
  for (Layer& layer : a.layers) {
    layer.rotate_query = false;
    layer.qkv_bias = layer.output_bias = layer.mlp.bias = true;
    layer.mlp.gated = false;
    layer.mlp.activation = Activation::gelu_tanh;
  }
  for (KvStore& store : a.kv_stores) store.keys_rotated = false;
  return a;
}

Architecture small_latent_architecture() {
  Architecture a = small_architecture();
  a.position.rope.dims = 4;
  for (Layer& layer : a.layers) layer.mla = Mla{9, 5, 3, 1e-6};
  for (KvStore& store : a.kv_stores) {
    store.stored = Stored::latent;
    store.kv_heads = 1;
    store.value_dim = 11;
    store.key_dim = 15;
  }
  a.layers[2].kv_owner = 1;
  a.kv_stores.pop_back();
  return a;
}

std::shared_ptr<const Model> random_model(const Architecture& architecture, uint64_t seed,
                                          std::shared_ptr<const Device> device) {
  const RandomTensors make(seed);
  const int64_t positions = architecture.context + architecture.position.learned_offset;
  Weights weights;
  weights.token_embedding = make.normal("tokens", {architecture.vocab_size, architecture.d_model}, 1);
  weights.position_embedding = make.normal("positions", {positions, architecture.d_model}, 0.5f);
  weights.final_norm = make.norm("final_norm", architecture);
  weights.lm_head = make.linear("lm_head", architecture.vocab_size, architecture.d_model, architecture.lm_head_bias);
  for (int64_t index = 0; index < architecture.layer_count(); ++index) {
    weights.layers.push_back(layer_weights(architecture, index, make));
  }
  return std::make_shared<Model>("random", architecture, std::move(weights), std::nullopt, std::move(device));
}

std::vector<int32_t> random_ids(const Architecture& architecture, int64_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) {
    ids.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(architecture.vocab_size)));
  }
  return ids;
}

}  // namespace headscope
