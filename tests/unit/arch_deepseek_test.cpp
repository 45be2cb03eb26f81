// DeepSeek V2 and V3: parameters and bytes as published, what their configs mean, how kv_b_proj is split, refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/arch_support.h"

namespace headscope {
namespace {

using arch_test::error_of;
using arch_test::load;
using arch_test::with;
using arch_test::without;
using testing::HasSubstr;

Json yarn(double mscale) {
  return {{"type", "yarn"},
          {"factor", 40},
          {"mscale", mscale},
          {"mscale_all_dim", mscale},
          {"beta_fast", 32},
          {"beta_slow", 1},
          {"original_max_position_embeddings", 4096}};
}

Json v2_lite() {
  return {{"model_type", "deepseek_v2"},
          {"hidden_size", 2048},
          {"intermediate_size", 10944},
          {"moe_intermediate_size", 1408},
          {"num_hidden_layers", 27},
          {"num_attention_heads", 16},
          {"num_key_value_heads", 16},
          {"vocab_size", 102400},
          {"max_position_embeddings", 163840},
          {"kv_lora_rank", 512},
          {"q_lora_rank", nullptr},
          {"qk_nope_head_dim", 128},
          {"qk_rope_head_dim", 64},
          {"v_head_dim", 128},
          {"n_routed_experts", 64},
          {"n_shared_experts", 2},
          {"num_experts_per_tok", 6},
          {"first_k_dense_replace", 1},
          {"moe_layer_freq", 1},
          {"n_group", 1},
          {"topk_group", 1},
          {"topk_method", "greedy"},
          {"scoring_func", "softmax"},
          {"norm_topk_prob", false},
          {"routed_scaling_factor", 1.0},
          {"rope_scaling", yarn(0.707)}};
}

Json v2() {
  return with(v2_lite(), {{"hidden_size", 5120},
                          {"intermediate_size", 12288},
                          {"moe_intermediate_size", 1536},
                          {"num_hidden_layers", 60},
                          {"num_attention_heads", 128},
                          {"num_key_value_heads", 128},
                          {"q_lora_rank", 1536},
                          {"n_routed_experts", 160},
                          {"n_group", 8},
                          {"topk_group", 3},
                          {"topk_method", "group_limited_greedy"},
                          {"routed_scaling_factor", 16.0}});
}

Json v3() {
  return with(v2(), {{"model_type", "deepseek_v3"},
                     {"hidden_size", 7168},
                     {"intermediate_size", 18432},
                     {"moe_intermediate_size", 2048},
                     {"num_hidden_layers", 61},
                     {"vocab_size", 129280},
                     {"n_routed_experts", 256},
                     {"n_shared_experts", 1},
                     {"num_experts_per_tok", 8},
                     {"first_k_dense_replace", 3},
                     {"topk_group", 4},
                     {"topk_method", "noaux_tc"},
                     {"scoring_func", "sigmoid"},
                     {"norm_topk_prob", true},
                     {"routed_scaling_factor", 2.5},
                     {"rope_scaling", yarn(1)}});
}

// Parameters of transformers' models of these configs (multi-token prediction left out); bytes from kv-variants.md 4.
TEST(ArchDeepseek, PublishedModels) {
  const auto parameters = [](const Json& config) {
    return parameter_count(recognise_family(config, "config.json").schema(load(config)));
  };
  EXPECT_EQ(parameters(v2_lite()), 15706484224);
  EXPECT_EQ(parameters(v2()), 235741434880);
  EXPECT_EQ(parameters(v3()), 671026419200);
  EXPECT_EQ(kv_bytes_per_token(load(v2_lite()), 2), 31104);
  EXPECT_EQ(kv_bytes_per_token(load(v2()), 2), 69120);
  EXPECT_EQ(kv_bytes_per_token(load(v3()), 2), 70272);
  for (const Json& config : {v2_lite(), v2(), v3()}) EXPECT_EQ(variant_name(load(config)), "MLA");
}

TEST(ArchDeepseek, ConfigBecomesTheAbsorbedForm) {
  const Architecture lite = load(v2_lite()), large = load(v3());
  EXPECT_EQ(lite.kv_stores[0].kv_heads, 1);
  EXPECT_EQ(lite.kv_stores[0].key_dim, 576);
  EXPECT_EQ(lite.kv_stores[0].value_dim, 512);
  EXPECT_EQ(lite.kv_stores[0].stored, Stored::latent);
  EXPECT_EQ(lite.layers[0].mla->query_rank, 0);
  EXPECT_EQ(large.layers[0].mla->query_rank, 1536);
  EXPECT_EQ(large.layers[0].mla->content_dim, 128);
  EXPECT_EQ(lite.position.rope.dims, 64);
  EXPECT_EQ(lite.position.rope.style, RotationStyle::interleaved);
  EXPECT_EQ(load(with(v3(), {{"rope_interleave", false}})).position.rope.style, RotationStyle::rotate_half);
  // kv-variants.md 3.7: 192^-0.5 mscale^2, mscale = 0.1 mscale_all_dim ln(40) + 1
  const double mscale = 0.1 * 0.707 * std::log(40.0) + 1;
  EXPECT_NEAR(lite.layers[0].scale, mscale * mscale / std::sqrt(192.0), 1e-12);
  EXPECT_NEAR(lite.position.rope.scaling.attention_factor, 1, 1e-12);  // the two mscale cancel
  EXPECT_NEAR(load(without(v2_lite(), {"rope_scaling"})).layers[0].scale, 1 / std::sqrt(192.0), 1e-12);
}

TEST(ArchDeepseek, Routers) {
  const Architecture lite = load(v2_lite()), large = load(v3());
  EXPECT_EQ(lite.layers[0].mlp.experts, 1);
  EXPECT_EQ(lite.layers[0].mlp.width, 10944);
  const Mlp& mixture = lite.layers[1].mlp;
  EXPECT_EQ(mixture.experts, 64);
  EXPECT_EQ(mixture.width, 1408);
  EXPECT_EQ(mixture.shared_width, 2816);
  EXPECT_EQ(mixture.router.score, Router::Score::softmax);
  EXPECT_FALSE(mixture.router.normalised);
  const Router& router = large.layers[3].mlp.router;
  EXPECT_EQ(large.layers[2].mlp.experts, 1);
  EXPECT_EQ(router.score, Router::Score::sigmoid);
  EXPECT_TRUE(router.choice_bias && router.normalised);
  EXPECT_EQ(router.groups, 8);
  EXPECT_EQ(router.groups_active, 4);
  EXPECT_EQ(router.group_best, 2);
  EXPECT_EQ(router.scale, 2.5);
  EXPECT_EQ(load(without(v2_lite(), {"n_shared_experts"})).layers[1].mlp.shared_width, 2816);  // as transformers
  EXPECT_EQ(load(with(v2_lite(), {{"n_routed_experts", nullptr}})).layers[26].mlp.experts, 1);
}

TEST(ArchDeepseek, ExpertsInWords) {
  EXPECT_EQ(experts_text(load(v2_lite())), "64 experts, 6 a token, in 26 of 27 layers");
  EXPECT_EQ(experts_text(load(with(v2_lite(), {{"first_k_dense_replace", 0}}))), "64 experts, 6 a token");
  EXPECT_EQ(experts_text(arch_test::uniform(2, 4, 2, 8)), "");
}

TEST(ArchDeepseek, KeysAndValuesOfEachHeadAreSplit) {
  const Json small = with(v2_lite(), {{"num_attention_heads", 2}, {"num_key_value_heads", 2}});
  const Architecture a = load(small);
  for (const TensorWish& wish : recognise_family(small, "").schema(a).wishes) {
    if (wish.name != "layers.0.self_attn.kv_b_proj.weight") continue;
    ASSERT_EQ(wish.parts.size(), 2u);
    EXPECT_EQ(wish.parts[0].weight, Weight::latent_key);
    EXPECT_EQ(wish.parts[0].rows[1].begin, 256);
    EXPECT_EQ(wish.parts[1].weight, Weight::latent_value);
    EXPECT_EQ(wish.parts[1].rows[0].begin, 128);
    EXPECT_EQ(wish.parts[1].rows[1].begin, 384);
    return;
  }
  FAIL() << "no kv_b_proj";
}

TEST(ArchDeepseek, RefusedByKey) {
  const std::vector<std::pair<Json, const char*>> cases = {
      {with(v2(), {{"norm_topk_prob", true}}), "norm_topk_prob"},
      {with(v2(), {{"topk_method", "noaux_tc"}}), "topk_method"},
      {with(v2(), {{"scoring_func", "sigmoid"}}), "scoring_func"},
      {with(v2(), {{"moe_layer_freq", 2}}), "moe_layer_freq"},
      {with(v2(), {{"n_group", 7}}), "n_group"},
      {with(v2(), {{"topk_group", 9}}), "topk_group"},
      {with(v2(), {{"num_experts_per_tok", 0}}), "num_experts_per_tok"},
      {with(v2(), {{"num_key_value_heads", 8}}), "num_key_value_heads"},
      {with(v2(), {{"qk_rope_head_dim", 63}}), "qk_rope_head_dim"},
      {with(v2(), {{"kv_lora_rank", 0}}), "kv_lora_rank"},
      {with(v2(), {{"rope_scaling", {{"type", "dynamic"}, {"factor", -1}}}}), "factor"},
      {with(v3(), {{"topk_method", "greedy"}}), "topk_method"},
      {with(v3(), {{"n_group", 256}}), "n_group"},
      {without(v3(), {"routed_scaling_factor"}), "routed_scaling_factor"},
      {without(v3(), {"kv_lora_rank", "v_head_dim"}), "kv_lora_rank"},
      {with(v3(), {{"num_experts_per_tok", 200}}), "num_experts_per_tok must be at most 128"},
      {with(v3(), {{"n_routed_experts", 4096}, {"num_hidden_layers", 1024}}), "n_routed_experts must be at most 64 in"},
      {without(v3(), {"q_lora_rank"}), "missing key: q_lora_rank"},
      {with(v3(), {{"rope_scaling", {{"type", "yarn"}}}}), "missing key: rope_scaling.factor"},
      {with(v3(), {{"rope_scaling", {{"type", "dynamic"}, {"factor", 1e308}}}}),
       "rope_scaling.factor must be from 1 to 6553"},
      {with(v3(), {{"rope_scaling", {{"type", "dynamic"}, {"factor", 0.5}}}}),
       "rope_scaling.factor must be from 1 to 6553"},
      {with(v3(), {{"qk_rope_head_dim", 2}, {"rope_scaling", {{"type", "dynamic"}, {"factor", 2}}}}), "dynamic"},
  };
  for (const auto& [config, key] : cases) EXPECT_THAT(error_of([&] { load(config); }), HasSubstr(key));
}

}  // namespace
}  // namespace headscope
