#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/arch_support.h"

namespace headscope {
namespace {

using arch_test::error_of;
using arch_test::llama_config;
using arch_test::load;
using arch_test::with;
using arch_test::without;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Architecture with_rope(const Json& changes) { return load(with(without(llama_config(), {"rope_theta"}), changes)); }

TEST(ArchLlama, ReadsEveryField) {
  std::vector<std::string> notes;
  const Architecture a = load(llama_config(), &notes);
  EXPECT_THAT(notes, IsEmpty());
  EXPECT_EQ(a.family, "llama");
  EXPECT_EQ(a.d_model, 64);
  EXPECT_EQ(a.vocab_size, 512);
  EXPECT_EQ(a.context, 512);
  EXPECT_EQ(a.norm, Norm::rms_norm);
  EXPECT_EQ(a.norm_epsilon, 1e-5);
  EXPECT_EQ(a.position.scheme, PositionScheme::rope);
  EXPECT_EQ(a.position.rope.style, RotationStyle::rotate_half);
  EXPECT_EQ(a.position.rope.dims, 8);
  EXPECT_EQ(a.position.rope.base, 10000);
  EXPECT_EQ(a.position.rope.scaling.kind, RopeScaling::Kind::none);
  EXPECT_TRUE(a.tied_embeddings);
  EXPECT_EQ(a.bos_id, 1);
  EXPECT_THAT(a.eos_ids, ElementsAre(2));
  ASSERT_EQ(a.layer_count(), 5);
  const Layer& layer = a.layers[4];
  EXPECT_EQ(layer.q_heads, 8);
  EXPECT_DOUBLE_EQ(layer.scale, 1 / std::sqrt(8.0));
  EXPECT_TRUE(layer.rotate_query && layer.mlp.gated && layer.norm_before);
  EXPECT_FALSE(layer.rotate_on_read || layer.qkv_bias || layer.output_bias || layer.mlp.bias || layer.norm_after);
  EXPECT_EQ(layer.mlp.width, 172);
  EXPECT_EQ(layer.mlp.activation, Activation::silu);
  EXPECT_EQ(a.store_of(4).kv_heads, 4);
  EXPECT_TRUE(a.store_of(4).keys_rotated);
}

TEST(ArchLlama, DefaultsOfTransformers) {
  const Architecture a = load(without(llama_config(), {"num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta",
                                                       "hidden_act", "tie_word_embeddings", "bos_token_id"}));
  EXPECT_EQ(a.store_of(0).kv_heads, 8);
  EXPECT_EQ(a.store_of(0).key_dim, 8);
  EXPECT_EQ(a.norm_epsilon, 1e-6);
  EXPECT_EQ(a.position.rope.base, 10000);
  EXPECT_EQ(a.layers[0].mlp.activation, Activation::silu);
  EXPECT_FALSE(a.tied_embeddings);
  EXPECT_FALSE(a.bos_id.has_value());
}

TEST(ArchLlama, BiasesReachTheSchema) {
  const Json config = with(llama_config(), {{"attention_bias", true}, {"mlp_bias", true}, {"num_hidden_layers", 1}});
  const Architecture a = load(config);
  EXPECT_TRUE(a.layers[0].qkv_bias && a.layers[0].output_bias && a.layers[0].mlp.bias);
  std::vector<std::string> biases;
  for (const TensorWish& wish : recognise_family(config, "").schema(a).wishes) {
    if (wish.name.ends_with(".bias")) biases.push_back(fmt::format("{} {}", wish.name, wish.shape.at(0)));
  }
  EXPECT_THAT(biases, ElementsAre("layers.0.self_attn.q_proj.bias 64", "layers.0.self_attn.k_proj.bias 32",
                                  "layers.0.self_attn.v_proj.bias 32", "layers.0.self_attn.o_proj.bias 64",
                                  "layers.0.mlp.gate_proj.bias 172", "layers.0.mlp.up_proj.bias 172",
                                  "layers.0.mlp.down_proj.bias 64"));
}

TEST(ArchLlama, RopeOfTransformers4And5) {
  const Json llama3 = {{"factor", 32.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 8192},
                       {"rope_type", "llama3"}};
  const Architecture v4 = with_rope({{"rope_theta", 500000.0}, {"rope_scaling", llama3}});
  const Architecture v5 = with_rope({{"rope_parameters", with(llama3, {{"rope_theta", 500000}})}});
  for (const Architecture* a : {&v4, &v5}) {
    const Rope& rope = a->position.rope;
    EXPECT_EQ(rope.base, 500000);
    EXPECT_EQ(rope.scaling.kind, RopeScaling::Kind::llama3);
    EXPECT_EQ(rope.scaling.factor, 32);
    EXPECT_EQ(rope.scaling.low_freq_factor, 1);
    EXPECT_EQ(rope.scaling.high_freq_factor, 4);
    EXPECT_EQ(rope.scaling.original_context, 8192);
  }
  EXPECT_EQ(with_rope({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 7e5}}}}).position.rope.base, 7e5);
  const Rope linear = with_rope({{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}}).position.rope;
  EXPECT_EQ(linear.scaling.kind, RopeScaling::Kind::linear);
  EXPECT_EQ(linear.scaling.factor, 2);
  EXPECT_EQ(linear.base, 10000);
  const Rope dynamic = with_rope({{"rope_scaling", {{"type", "dynamic"}, {"factor", 4.0}}}}).position.rope;
  EXPECT_EQ(dynamic.scaling.kind, RopeScaling::Kind::dynamic);
  EXPECT_EQ(dynamic.scaling.original_context, 512);
  std::vector<std::string> notes;
  const Json scaled = with(llama_config(), {{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.5}}}});
  EXPECT_EQ(load(scaled, &notes).context, 1280);
  EXPECT_THAT(notes, testing::Contains(AllOf(HasSubstr("dynamic rope scaling"), HasSubstr("beyond 512 tokens"),
                                             HasSubstr("1280 tokens, 2.5 times"))));
}

TEST(ArchLlama, RopeObjectsFollowTransformersPriorities) {
  // The object's rope_theta beats the one beside it; a non-empty rope_scaling beats rope_parameters.
  EXPECT_EQ(with_rope({{"rope_theta", 5.0}, {"rope_parameters", {{"rope_theta", 7.0}}}}).position.rope.base, 7);
  const Rope rope = with_rope({{"rope_theta", 5.0},
                               {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}},
                               {"rope_parameters", {{"rope_theta", 7.0}}}})
                        .position.rope;
  EXPECT_EQ(rope.base, 5);
  EXPECT_EQ(rope.scaling.kind, RopeScaling::Kind::linear);
  EXPECT_EQ(
      with_rope({{"rope_scaling", Json::object()}, {"rope_parameters", {{"rope_theta", 7.0}}}}).position.rope.base, 7);
  EXPECT_EQ(with_rope({{"rope_scaling", nullptr}}).position.rope.scaling.kind, RopeScaling::Kind::none);
  // llama3 without the original context: the model's.
  const Json bare = {{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 1}, {"high_freq_factor", 4}};
  EXPECT_EQ(with_rope({{"rope_scaling", bare}}).position.rope.scaling.original_context, 512);
  EXPECT_EQ(with_rope({{"rope_scaling", bare}, {"original_max_position_embeddings", 128}})
                .position.rope.scaling.original_context,
            128);
}

TEST(ArchLlama, NotesAboutKeysWithoutEffect) {
  std::vector<std::string> notes;
  load(with(llama_config(), {{"pretraining_tp", 2}, {"sliding_window", 4096}}), &notes);
  EXPECT_THAT(notes, AllOf(Contains(HasSubstr("pretraining_tp")), Contains(HasSubstr("sliding_window"))));
  notes.clear();
  load(with(llama_config(), {{"pretraining_tp", 1}, {"sliding_window", nullptr}}), &notes);
  EXPECT_THAT(notes, IsEmpty());
}

TEST(ArchLlama, PartialRotationIsRefused) {
  EXPECT_THAT(error_of([] {
                load(with(llama_config(), {{"partial_rotary_factor", 0.5}}));
              }),
              HasSubstr("partial_rotary_factor must be 1 or absent"));
  EXPECT_THAT(error_of([] {
                with_rope({{"rope_parameters", {{"partial_rotary_factor", 0.5}}}});
              }),
              HasSubstr("rope_parameters.partial_rotary_factor"));
  EXPECT_NO_THROW(load(with(llama_config(), {{"partial_rotary_factor", 1.0}})));
}

TEST(ArchLlama, SchemaShapesWithAnExplicitHeadSize) {
  const Json config =
      with(llama_config(), {{"head_dim", 16}, {"num_hidden_layers", 1}, {"tie_word_embeddings", false}});
  const TensorSchema schema = recognise_family(config, "").schema(load(config));
  std::vector<std::string> all;
  for (const TensorWish& wish : schema.wishes)
    all.push_back(fmt::format("{} [{}]", wish.name, fmt::join(wish.shape, ", ")));
  EXPECT_THAT(all,
              ElementsAre("embed_tokens.weight [512, 64]", "layers.0.input_layernorm.weight [64]",
                          "layers.0.self_attn.q_proj.weight [128, 64]", "layers.0.self_attn.k_proj.weight [64, 64]",
                          "layers.0.self_attn.v_proj.weight [64, 64]", "layers.0.self_attn.o_proj.weight [64, 128]",
                          "layers.0.post_attention_layernorm.weight [64]", "layers.0.mlp.gate_proj.weight [172, 64]",
                          "layers.0.mlp.up_proj.weight [172, 64]", "layers.0.mlp.down_proj.weight [64, 172]",
                          "norm.weight [64]", "lm_head.weight [512, 64]"));
  EXPECT_TRUE(schema.wishes.back().outside_prefix);
  EXPECT_FALSE(schema.wishes.back().optional);
}

// kv-variants.md 3.0
TEST(ArchLlama, ParameterCountsOfPublishedModels) {
  const auto count = [](const Json& config) {
    return parameter_count(recognise_family(config, "config.json").schema(load(config)));
  };
  EXPECT_EQ(count(arch_test::llama_3_2_1b_config()), 1235814400);
  EXPECT_EQ(count(arch_test::smollm2_135m_config()), 134515008);
  EXPECT_EQ(count(arch_test::tinyllama_1_1b_config()), 1100048384);
}

}  // namespace
}  // namespace headscope
