#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/arch_support.h"

namespace headscope {
namespace {

using arch_test::error_of;
using arch_test::gpt2_config;
using arch_test::load;
using arch_test::with;
using arch_test::without;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(ArchGpt2, ReadsEveryField) {
  std::vector<std::string> notes;
  const Architecture a = load(gpt2_config(), &notes);
  EXPECT_THAT(notes, IsEmpty());
  EXPECT_EQ(a.family, "gpt2");
  EXPECT_EQ(a.d_model, 768);
  EXPECT_EQ(a.vocab_size, 50257);
  EXPECT_EQ(a.context, 1024);
  EXPECT_EQ(a.norm, Norm::layer_norm);
  EXPECT_EQ(a.norm_epsilon, 1e-5);
  EXPECT_EQ(a.position.scheme, PositionScheme::learned);
  EXPECT_TRUE(a.tied_embeddings);
  EXPECT_EQ(a.bos_id, 50256);
  EXPECT_THAT(a.eos_ids, ElementsAre(50256));
  ASSERT_EQ(a.layer_count(), 12);
  const Layer& layer = a.layers[7];
  EXPECT_EQ(layer.q_heads, 12);
  EXPECT_EQ(layer.scale, 0.125);
  EXPECT_TRUE(layer.qkv_bias && layer.output_bias && layer.mlp.bias && layer.norm_before);
  EXPECT_FALSE(layer.rotate_query || layer.rotate_on_read || layer.mlp.gated || layer.norm_after);
  EXPECT_EQ(layer.mlp.width, 3072);
  EXPECT_EQ(layer.mlp.activation, Activation::gelu_tanh);
  EXPECT_EQ(a.store_of(7).kv_heads, 12);
  EXPECT_EQ(a.store_of(7).key_dim, 64);
  EXPECT_EQ(a.store_of(7).value_dim, 64);
  EXPECT_FALSE(a.store_of(7).keys_rotated);
}

TEST(ArchGpt2, OtherSpellingsMeanTheSame) {
  const Json other = with(
      without(gpt2_config(), {"n_embd", "n_head", "n_layer", "n_positions", "n_ctx"}),
      {{"hidden_size", 768}, {"num_attention_heads", 12}, {"num_hidden_layers", 12}, {"max_position_embeddings", 512}});
  const Architecture a = load(other);
  EXPECT_EQ(a.d_model, 768);
  EXPECT_EQ(a.layers.at(0).q_heads, 12);
  EXPECT_EQ(a.context, 512);
  EXPECT_EQ(load(with(without(gpt2_config(), {"n_positions"}), {{"n_ctx", 256}})).context, 256);
  EXPECT_EQ(load(with(gpt2_config(), {{"n_ctx", 256}})).context, 1024);  // the table has n_positions rows
  EXPECT_THAT(error_of([] {
                load(with(gpt2_config(), {{"hidden_size", 64}}));
              }),
              AllOf(HasSubstr("n_embd is 768"), HasSubstr("hidden_size"), HasSubstr("is 64")));
}

TEST(ArchGpt2, OptionalFields) {
  EXPECT_EQ(load(with(gpt2_config(), {{"n_inner", 100}})).layers[0].mlp.width, 100);
  EXPECT_EQ(load(with(gpt2_config(), {{"scale_attn_weights", false}})).layers[3].scale, 1);
  const Architecture by_layer = load(with(gpt2_config(), {{"scale_attn_by_inverse_layer_idx", true}}));
  EXPECT_EQ(by_layer.layers[0].scale, 0.125);
  EXPECT_EQ(by_layer.layers[3].scale, 0.125 / 4);
  const std::vector<std::pair<const char*, Activation>> activations = {{"gelu", Activation::gelu},
                                                                       {"gelu_new", Activation::gelu_tanh},
                                                                       {"gelu_pytorch_tanh", Activation::gelu_tanh},
                                                                       {"relu", Activation::relu},
                                                                       {"silu", Activation::silu},
                                                                       {"swish", Activation::silu},
                                                                       {"gelu_fast", Activation::gelu_tanh}};
  for (const auto& [name, activation] : activations) {
    EXPECT_EQ(load(with(gpt2_config(), {{"activation_function", name}})).layers[0].mlp.activation, activation) << name;
  }
  EXPECT_THAT(error_of([] {
                load(with(gpt2_config(), {{"activation_function", "tanh"}}));
              }),
              AllOf(HasSubstr("activation_function must be one of gelu"), HasSubstr("\"tanh\"")));
  EXPECT_FALSE(load(with(gpt2_config(), {{"tie_word_embeddings", false}})).tied_embeddings);
  EXPECT_TRUE(load(with(gpt2_config(), {{"tie_word_embeddings", nullptr}})).tied_embeddings);
}

TEST(ArchGpt2, OtherModelsThatCallThemselvesGpt2AreRefused) {
  EXPECT_THAT(error_of([] {
                load(with(gpt2_config(), {{"add_cross_attention", true}}));
              }),
              AllOf(HasSubstr("add_cross_attention"), HasSubstr("cross attention is not supported")));
  EXPECT_THAT(error_of([] { load(with(gpt2_config(), {{"multi_query", true}})); }), HasSubstr("multi_query"));
  EXPECT_THAT(error_of([] {
                load(with(gpt2_config(), {{"attention_head_type", "multiquery2"}}));
              }),
              AllOf(HasSubstr("attention_head_type must be one of multihead, multiquery"), HasSubstr("multiquery2")));
  EXPECT_THAT(error_of([] {
                load(with(gpt2_config(), {{"attention_head_type", "multiquery"}, {"multi_query", false}}));
              }),
              HasSubstr("multi_query must be absent or as attention_head_type says"));
  EXPECT_NO_THROW(load(with(gpt2_config(), {{"attention_head_type", "multihead"}, {"multi_query", false}})));
}

TEST(ArchGpt2, SplitsTheFusedConv1DIntoAllQueriesKeysValues) {
  const Architecture a = load(gpt2_config(24, 3, 2));
  const TensorSchema schema = recognise_family(gpt2_config(), "config.json").schema(a);
  const auto wish = [&](std::string_view name) -> const TensorWish& {
    for (const TensorWish& w : schema.wishes) {
      if (w.name == name) return w;
    }
    throw std::out_of_range(std::string(name));
  };
  const TensorWish& fused = wish("h.1.attn.c_attn.weight");
  EXPECT_TRUE(fused.transposed);
  EXPECT_THAT(fused.shape, ElementsAre(24, 72));
  ASSERT_EQ(fused.parts.size(), 3u);
  const std::vector<Weight> order = {Weight::query, Weight::key, Weight::value};
  for (size_t p = 0; p < 3; ++p) {
    EXPECT_EQ(fused.parts[p].weight, order[p]);
    EXPECT_EQ(fused.parts[p].layer, 1);
    ASSERT_EQ(fused.parts[p].rows.size(), 1u);
    EXPECT_EQ(fused.parts[p].rows[0].begin, static_cast<int64_t>(24 * p));
    EXPECT_EQ(fused.parts[p].rows[0].count, 24);
  }
  EXPECT_THAT(wish("h.0.attn.c_attn.bias").shape, ElementsAre(72));
  EXPECT_EQ(wish("h.0.attn.c_attn.bias").parts[2].rows[0].begin, 48);
  EXPECT_THAT(wish("h.0.mlp.c_fc.weight").shape, ElementsAre(24, 96));
  EXPECT_THAT(wish("h.0.mlp.c_proj.weight").shape, ElementsAre(96, 24));
  EXPECT_EQ(wish("h.0.mlp.c_proj.weight").parts[0].rows[0].count, 24);
  EXPECT_FALSE(wish("wte.weight").transposed);
  EXPECT_TRUE(wish("lm_head.weight").optional);
}

TEST(ArchGpt2, SantaCoderKeepsTheQueriesApartFromOneKeyAndValue) {
  const Json config = with(gpt2_config(24, 3, 2), {{"attention_head_type", "multiquery"}});
  const Architecture a = load(config);
  EXPECT_EQ(a.store_of(1).kv_heads, 1);
  EXPECT_EQ(a.layers[1].q_heads, 3);
  EXPECT_EQ(variant_name(a), "MQA");
  const TensorSchema schema = recognise_family(config, "config.json").schema(a);
  const auto apart = arch_test::file_for(schema, "transformer.");
  const TensorBinding binding = bind_tensors(schema, apart, "model.safetensors");
  EXPECT_EQ(binding.tensors.size(), apart.size());
  EXPECT_THAT(binding.notes, testing::IsEmpty());
  const auto shape = [&](std::string name) {
    auto file = apart;
    return arch_test::named(file, name).shape;
  };
  EXPECT_THAT(shape("transformer.h.1.attn.q_attn.weight"), ElementsAre(24, 24));
  EXPECT_THAT(shape("transformer.h.1.attn.kv_attn.weight"), ElementsAre(24, 16));
  EXPECT_THAT(shape("transformer.h.1.attn.kv_attn.bias"), ElementsAre(16));

  // Joined in the order of GPT-BigCode; one form or the other, not both and not a part of each.
  auto joined = apart;
  std::erase_if(joined, [](const TensorInfo& t) { return t.name.find("h.1.attn.q_attn") != t.name.npos; });
  auto both = apart;
  for (auto* file : {&joined, &both}) {
    file->push_back(arch_test::tensor("transformer.h.1.attn.c_attn.weight", {24, 40}));
    file->push_back(arch_test::tensor("transformer.h.1.attn.c_attn.bias", {40}));
  }
  std::erase_if(joined, [](const TensorInfo& t) { return t.name.find("h.1.attn.kv_attn") != t.name.npos; });
  EXPECT_EQ(bind_tensors(schema, joined, "model.safetensors").tensors.size(), joined.size());
  const auto refusal = [&](const std::vector<TensorInfo>& file) {
    return error_of([&] { bind_tensors(schema, file, "model.safetensors"); });
  };
  EXPECT_THAT(refusal(both), HasSubstr("\"transformer.h.1.attn.q_attn.weight\" must not stand beside "
                                       "\"transformer.h.1.attn.c_attn.weight\""));
  arch_test::named(joined, "transformer.h.1.attn.c_attn.weight").shape = {40, 24};
  EXPECT_THAT(refusal(joined), HasSubstr("expected shape [24, 40], found [40, 24] (transposed)"));
  joined.pop_back();
  EXPECT_THAT(refusal(joined), HasSubstr("\"transformer.h.1.attn.q_attn.bias\" is missing"));
}

// kv-variants.md 3.0
TEST(ArchGpt2, ParameterCountsOfThePublishedSizes) {
  const auto count = [](int64_t width, int64_t heads, int64_t layers) {
    const Json config = gpt2_config(width, heads, layers);
    return parameter_count(recognise_family(config, "config.json").schema(load(config)));
  };
  EXPECT_EQ(count(768, 12, 12), 124439808);
  EXPECT_EQ(count(1024, 16, 24), 354823168);
  EXPECT_EQ(count(1280, 20, 36), 774030080);
  EXPECT_EQ(count(1600, 25, 48), 1557611200);
}

}  // namespace
}  // namespace headscope
