// Models held in bf16: what they take of memory, and their products.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <fstream>
#include <map>

#include <ATen/ATen.h>

#include "core/io/safetensors.h"
#include "core/model/description.h"
#include "core/model/model.h"
#include "core/model/weights.h"
#include "core/run/run.h"
#include "tests/run/random_model.h"

namespace headscope {
namespace {

constexpr const char* llama_config = R"({"model_type": "llama", "hidden_size": 48, "intermediate_size": 88,
  "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 64,
  "vocab_size": 4000, "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 10000, "tie_word_embeddings": true})";
/// Queries, keys and values of a head lie together in one tensor, which is sorted into three. They are large enough to
/// have pages of their own.
constexpr const char* neox_config = R"({"model_type": "gpt_neox", "hidden_size": 256, "intermediate_size": 512,
  "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64, "vocab_size": 300,
  "rotary_pct": 0.25, "hidden_act": "gelu", "use_parallel_residual": true, "tie_word_embeddings": false})";

constexpr const char* deepseek_config = R"({"model_type": "deepseek_v3", "hidden_size": 32, "intermediate_size": 48,
  "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64, "vocab_size": 300, "kv_lora_rank": 16,
  "q_lora_rank": 12, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "n_routed_experts": 4, "n_group": 2,
  "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 20, "routed_scaling_factor": 2.5,
  "first_k_dense_replace": 1})";

/// A checkpoint of random values in a temporary folder.
class StoredModel {
 public:
  StoredModel(const char* config, DType stored)
      : folder_(std::filesystem::path(testing::TempDir()) / fmt::format("stored-{}", getpid())) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
    std::ofstream(folder_ / "config.json") << config;
    const Json json = Json::parse(config);
    std::vector<std::string> notes;
    const Family& family = recognise_family(json, "test");
    const TensorSchema schema = family.schema(family.architecture(json, "test", notes));
    std::vector<TensorInfo> infos;
    for (const TensorWish& wish : schema.wishes) {
      if (wish.optional) continue;
      const std::string prefix = wish.outside_prefix ? "" : schema.prefixes.front();
      infos.push_back({prefix + wish.name, stored, std::string(dtype_name(stored)), wish.shape, 0});
      infos.back().bytes = static_cast<uint64_t>(infos.back().elements()) * dtype_bytes(stored);
    }
    SafetensorsWriter writer(folder_ / "model.safetensors", infos);
    at::manual_seed(3);
    for (const TensorInfo& info : infos) {
      const at::Tensor values = (0.1 * at::randn(info.shape)).to(stored == DType::bf16 ? at::kBFloat16 : at::kFloat);
      writer.append({static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()});
    }
    writer.finish();
  }
  ~StoredModel() { std::filesystem::remove_all(folder_); }

  std::shared_ptr<const Model> load(std::optional<DType> dtype, const Progress& progress = {}) const {
    LoadOptions options;
    options.dtype = dtype;
    return Model::load(*open_checkpoint(folder_), options, progress);
  }

 private:
  std::filesystem::path folder_;
};

std::vector<at::Tensor> tensors_of(const Weights& weights) {
  std::vector<at::Tensor> all = {weights.token_embedding, weights.position_embedding, weights.final_norm.weight,
                                 weights.final_norm.bias, weights.lm_head.weight,     weights.lm_head.bias};
  for (const LayerWeights& layer : weights.layers) {
    for (const auto* norm :
         {&layer.attention_norm, &layer.mlp_norm, &layer.attention_post_norm, &layer.mlp_post_norm}) {
      all.insert(all.end(), {norm->weight, norm->bias});
    }
    all.insert(all.end(), {layer.query_norm, layer.key_norm, layer.query_latent_norm, layer.latent_norm,
                           layer.latent_key, layer.latent_value, layer.router, layer.router_bias});
    std::vector<Linear> linears = {layer.query, layer.key, layer.value, layer.output, layer.query_latent, layer.latent};
    std::vector<MlpWeights> mlps = layer.experts;
    mlps.insert(mlps.end(), {layer.mlp, layer.shared});
    for (const MlpWeights& mlp : mlps) linears.insert(linears.end(), {mlp.gate, mlp.up, mlp.down});
    for (const Linear& linear : linears) all.insert(all.end(), {linear.weight, linear.bias});
  }
  std::erase_if(all, [](const at::Tensor& tensor) { return !tensor.defined(); });
  return all;
}

/// Bytes of the memory behind the tensors, each piece once.
size_t storage_bytes(const Weights& weights) {
  std::map<const void*, size_t> pieces;
  for (const at::Tensor& tensor : tensors_of(weights)) pieces[tensor.storage().data()] = tensor.storage().nbytes();
  size_t bytes = 0;
  for (const auto& [begin, size] : pieces) bytes += size;
  return bytes;
}

TEST(Bf16Model, HoldsEveryParameterOnce) {
  for (const char* config : {llama_config, neox_config, deepseek_config}) {
    for (const DType stored : {DType::bf16, DType::f32}) {
      const StoredModel file(config, stored);
      for (const DType dtype : {DType::bf16, DType::f32}) {
        const auto model = file.load(dtype);
        EXPECT_EQ(model->dtype(), dtype);
        const at::Tensor router = model->weights().layers.back().router;
        size_t vectors = 0;  // parameters of norms, biases and routers, which are f32 in any case
        for (const at::Tensor& tensor : tensors_of(model->weights())) {
          const bool always_f32 = tensor.dim() == 1 || tensor.is_same(router);
          if (always_f32) vectors += static_cast<size_t>(tensor.numel());
          EXPECT_EQ(tensor.scalar_type(), !always_f32 && dtype == DType::bf16 ? at::kBFloat16 : at::kFloat);
        }
        const auto matrices = static_cast<size_t>(model->parameters()) - vectors;
        EXPECT_EQ(storage_bytes(model->weights()), matrices * dtype_bytes(dtype) + 4 * vectors) << config;
      }
    }
  }
}

TEST(Bf16Model, TakesTheTypeThatMostOfTheFileHas) {
  EXPECT_EQ(StoredModel(llama_config, DType::bf16).load({})->dtype(), DType::bf16);
  EXPECT_EQ(StoredModel(llama_config, DType::f32).load({})->dtype(), DType::f32);
  EXPECT_THROW(StoredModel(llama_config, DType::f32).load(DType::f16), Error);
}

TEST(Bf16Model, WeightsAreTheSameNumbersInBothTypes) {
  const StoredModel file(neox_config, DType::bf16);
  const auto narrow = tensors_of(file.load(DType::bf16)->weights()),
             wide = tensors_of(file.load(DType::f32)->weights());
  ASSERT_EQ(narrow.size(), wide.size());
  for (size_t i = 0; i < wide.size(); ++i) EXPECT_TRUE(at::equal(narrow[i].to(at::kFloat), wide[i])) << i;
}

TEST(Bf16Model, ARunSaysWhatItComputedIn) {
  for (const DType dtype : {DType::bf16, DType::f32}) {
    headscope::Run run(StoredModel(llama_config, DType::bf16).load(dtype), {});
    run.extend(std::vector<int32_t>{1, 2, 3});
    EXPECT_EQ(run.snapshot().dtype, dtype == DType::bf16 ? "bf16" : "f32");
  }
}

TEST(Bf16Model, LogitsAreNotRounded) {
  RunOptions options;
  options.logits = LogitsWanted::all();
  headscope::Run run(StoredModel(llama_config, DType::bf16).load({}), options);
  run.extend(std::vector<int32_t>{1, 2, 3});
  const RowsView kept = run.logits();
  ASSERT_EQ(kept.rows, 3);
  const std::span<const float> row(kept.row(2), 4000), last = run.last_logits();
  // The lower half of a number that bf16 can hold is 0.
  const auto is_bf16 = [](float value) { return (std::bit_cast<uint32_t>(value) & 0xFFFFu) == 0; };
  EXPECT_LT(std::count_if(row.begin(), row.end(), is_bf16), 40);
  for (size_t i = 0; i < last.size(); ++i) ASSERT_NEAR(row[i], last[i], 1e-5) << i;
}

TEST(Bf16Model, LoadingTellsItsProgressInsideATensorAndStopsThere) {
  // The embedding is 98 % of this file, 12 MB, and is read in blocks of 4 MB.
  std::string config = llama_config;
  config.replace(config.find("4000"), 4, "130000");
  const StoredModel file(config.c_str(), DType::bf16);
  for (const DType dtype : {DType::bf16, DType::f32}) {
    std::vector<double> told;
    file.load(dtype, {{}, [&](std::string_view stage, double fraction) {
                        EXPECT_EQ(stage, "loading");
                        told.push_back(fraction);
                      }});
    EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
    EXPECT_GT(std::count_if(told.begin(), told.end(), [](double f) { return f > 0.1 && f < 0.9; }), 1);
    std::stop_source stop;
    double last = 0;
    const Progress stopping{stop.get_token(), [&](std::string_view, double fraction) {
                              last = fraction;
                              if (fraction > 0.1) stop.request_stop();
                            }};
    EXPECT_THROW(file.load(dtype, stopping), Cancelled);
    EXPECT_LT(last, 0.9);
  }
}

}  // namespace
}  // namespace headscope
