// Families beside gpt2 and llama: what their configs mean, how fused tensors are split.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tests/unit/arch_support.h"

namespace headscope {
namespace {

using arch_test::error_of;
using arch_test::load;
using arch_test::with;
using testing::HasSubstr;

Json form(const char* type, int64_t width, int64_t inner, int64_t layers, int64_t heads, int64_t vocab) {
  return {{"model_type", type},
          {"hidden_size", width},
          {"intermediate_size", inner},
          {"num_hidden_layers", layers},
          {"num_attention_heads", heads},
          {"vocab_size", vocab},
          {"max_position_embeddings", 2048}};
}

Json neox(int64_t width, int64_t inner, int64_t layers, int64_t heads) {
  return form("gpt_neox", width, inner, layers, heads, 50304);
}

Json bigcode(int64_t width, int64_t layers, int64_t heads) {
  return {{"model_type", "gpt_bigcode"}, {"n_embd", width},     {"n_layer", layers},  {"n_head", heads},
          {"n_positions", 8192},         {"vocab_size", 49152}, {"multi_query", true}};
}

Json falcon_7b() {
  return {{"model_type", "falcon"},    {"hidden_size", 4544},   {"num_hidden_layers", 32},
          {"num_attention_heads", 71}, {"num_kv_heads", 71},    {"vocab_size", 65024},
          {"multi_query", true},       {"parallel_attn", true}, {"new_decoder_architecture", false}};
}

Json falcon_rw_1b() {
  return {{"model_type", "falcon"},    {"hidden_size", 2048},    {"num_hidden_layers", 24},
          {"num_attention_heads", 32}, {"vocab_size", 50304},    {"alibi", true},
          {"multi_query", false},      {"parallel_attn", false}, {"bias", true}};
}

Json gemma_2_2b() {
  return with(form("gemma2", 2304, 9216, 26, 8, 256000), {{"num_key_value_heads", 4}, {"head_dim", 256}});
}

int64_t parameters(const Json& config) {
  return parameter_count(recognise_family(config, "config.json").schema(load(config)));
}

/// Which rows of a fused tensor become the weight, as "0-1 4-5".
std::map<Weight, std::string> split_of(const Json& config, const std::string& ending) {
  const Architecture a = load(config);
  std::map<Weight, std::string> rows;
  for (const TensorWish& wish : recognise_family(config, "").schema(a).wishes) {
    if (!wish.name.ends_with(ending) || wish.parts.front().layer != 0) continue;
    for (const WeightPart& part : wish.parts) {
      for (const RowRange& range : part.rows) {
        rows[part.weight] += fmt::format("{}-{} ", range.begin, range.begin + range.count - 1);
      }
    }
  }
  return rows;
}

TEST(ArchFamilies, FusedRowsAreSplitByTheirOwnRule) {
  auto rows = split_of(with(neox(8, 12, 1, 2), {{"rotary_pct", 0.5}}), "query_key_value.weight");
  EXPECT_EQ(rows[Weight::query], "0-3 12-15 ");
  EXPECT_EQ(rows[Weight::key], "4-7 16-19 ");
  EXPECT_EQ(rows[Weight::value], "8-11 20-23 ");
  rows = split_of(bigcode(8, 1, 2), "c_attn.bias");
  EXPECT_EQ(rows[Weight::query_bias], "0-7 ");
  EXPECT_EQ(rows[Weight::key_bias], "8-11 ");
  EXPECT_EQ(rows[Weight::value_bias], "12-15 ");
  const Json grouped =
      with(falcon_7b(),
           {{"hidden_size", 16}, {"num_attention_heads", 4}, {"num_kv_heads", 2}, {"new_decoder_architecture", true}});
  rows = split_of(grouped, "query_key_value.weight");
  EXPECT_EQ(rows[Weight::query], "0-7 16-23 ");
  EXPECT_EQ(rows[Weight::key], "8-11 24-27 ");
  EXPECT_EQ(rows[Weight::value], "12-15 28-31 ");
  const Json phi3 = with(form("phi3", 8, 6, 1, 4, 50), {{"num_key_value_heads", 2}});
  rows = split_of(phi3, "qkv_proj.weight");
  EXPECT_EQ(rows[Weight::query], "0-7 ");
  EXPECT_EQ(rows[Weight::key], "8-11 ");
  EXPECT_EQ(rows[Weight::value], "12-15 ");
  EXPECT_EQ(split_of(phi3, "gate_up_proj.weight")[Weight::mlp_up], "6-11 ");
}

TEST(ArchFamilies, NeoxOfTransformers4And5) {
  const Architecture v4 = load(with(neox(768, 3072, 12, 12), {{"rotary_pct", 0.25}, {"rotary_emb_base", 20000}}));
  const Architecture v5 = load(with(
      neox(768, 3072, 12, 12),
      {{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 20000.0}, {"partial_rotary_factor", 0.25}}}}));
  for (const Architecture* a : {&v4, &v5}) {
    EXPECT_EQ(a->position.rope.dims, 16);
    EXPECT_EQ(a->position.rope.base, 20000);
    EXPECT_EQ(a->layers[0].residual, Residual::parallel);
    EXPECT_EQ(a->layers[0].mlp.activation, Activation::gelu);
  }
  EXPECT_EQ(load(neox(768, 3072, 12, 12)).position.rope.dims, 16);  // a quarter where the config is silent
  EXPECT_THAT(error_of([] { load(with(neox(768, 3072, 12, 12), {{"rotary_pct", 0.27}})); }), HasSubstr("even"));
  EXPECT_THAT(error_of([] { load(with(neox(768, 3072, 12, 12), {{"rotary_pct", 1.5}})); }), HasSubstr("at most 1"));
}

// kv-variants.md 1.1: KV layers and heads; arch_published_test.cpp has the numbers of the released models.
TEST(ArchFamilies, MlkvOwnersAreSpaced) {
  const auto owners = [](int64_t layers, int64_t heads) {
    const Architecture a =
        load(with(neox(768, 3072, 12, 12), {{"num_key_value_layers", layers}, {"num_key_value_heads", heads}}));
    std::vector<int64_t> list;
    for (const KvStore& store : a.kv_stores) list.push_back(store.layer);
    return list;
  };
  using Layers = std::vector<int64_t>;
  EXPECT_EQ(owners(12, 4), (Layers{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(owners(6, 1), (Layers{0, 2, 4, 6, 8, 10}));
  for (const int64_t heads : {12, 3, 1}) EXPECT_EQ(owners(4, heads), (Layers{0, 3, 6, 9}));
  EXPECT_EQ(owners(2, 1), (Layers{0, 6}));
  EXPECT_EQ(owners(1, 1), (Layers{0}));
}

TEST(ArchFamilies, ANullSharesNoLayers) {
  EXPECT_EQ(load(with(neox(64, 96, 4, 4), {{"num_key_value_layers", nullptr}})).family, "gpt_neox");
}

TEST(ArchFamilies, OnlyCausalGemmasAreTaken) {
  for (const char* type : {"gemma", "gemma2", "gemma3_text"}) {
    const Json config = with(form(type, 64, 96, 2, 4, 100), {{"use_bidirectional_attention", true}});
    EXPECT_THAT(error_of([&] { load(config); }), HasSubstr("use_bidirectional_attention")) << type;
  }
}

TEST(ArchFamilies, MlkvReadersSeeKeysAsTheConfigSays) {
  const Json config = with(neox(64, 96, 4, 4), {{"num_key_value_layers", 2}, {"num_key_value_heads", 2}});
  std::vector<std::string> notes;
  const Architecture unrotated = load(config, &notes);
  EXPECT_FALSE(unrotated.kv_stores[0].keys_rotated);
  EXPECT_TRUE(unrotated.layers[0].rotate_on_read && unrotated.layers[2].rotate_on_read);
  EXPECT_FALSE(unrotated.layers[1].rotate_on_read || unrotated.layers[3].rotate_on_read);
  EXPECT_THAT(notes, testing::Contains(HasSubstr("before rope")));
  const Architecture rotated = load(with(config, {{"consumer_keys", "rotated"}}));
  EXPECT_TRUE(rotated.kv_stores[1].keys_rotated);
  EXPECT_FALSE(rotated.layers[0].rotate_on_read);
  EXPECT_THAT(error_of([&] { load(with(config, {{"consumer_keys", "sideways"}})); }), HasSubstr("consumer_keys"));
  EXPECT_THAT(error_of([&] { load(with(config, {{"num_key_value_layers", 5}})); }), HasSubstr("num_key_value_layers"));
}

TEST(ArchFamilies, FalconsKvHeadsFollowItsFlags) {
  EXPECT_EQ(load(falcon_7b()).store_of(0).kv_heads, 1);  // num_kv_heads 71 means nothing there
  const Json forty = with(
      falcon_7b(),
      {{"hidden_size", 8192}, {"num_attention_heads", 128}, {"new_decoder_architecture", true}, {"num_kv_heads", 8}});
  EXPECT_EQ(load(forty).store_of(0).kv_heads, 8);
  EXPECT_FALSE(load(forty).layers[0].shared_input_norm);
  const Json first = {
      {"model_type", "RefinedWeb"}, {"n_embed", 8192},       {"n_head", 128}, {"n_head_kv", 8}, {"n_layer", 60},
      {"vocab_size", 65024},        {"parallel_attn", true}, {"bias", false}};
  EXPECT_EQ(load(first).store_of(0).kv_heads, 8);
  EXPECT_EQ(parameters(first), parameters(with(forty, {{"num_hidden_layers", 60}})));
  EXPECT_TRUE(load(with(forty, {{"num_ln_in_parallel_attn", 1}})).layers[0].shared_input_norm);
  std::vector<std::string> notes;
  const Architecture rw = load(falcon_rw_1b(), &notes);
  EXPECT_EQ(rw.position.alibi_slopes.size(), 32u);
  EXPECT_DOUBLE_EQ(rw.position.alibi_scale, 0.125);
  EXPECT_TRUE(rw.position.alibi_bf16);
  EXPECT_THAT(notes, testing::Contains(HasSubstr("bf16")));
  EXPECT_EQ(rw.layers[0].residual, Residual::sequential);
}

TEST(ArchFamilies, WindowsAreReadAsTransformersReadsThem) {
  const Json mistral = form("mistral", 64, 128, 4, 4, 100);
  EXPECT_EQ(load(mistral).layers[3].window, 4096);
  EXPECT_EQ(load(with(mistral, {{"sliding_window", nullptr}})).layers[3].window, 0);
  EXPECT_EQ(load(with(mistral, {{"sliding_window", 7}})).kv_stores[3].window, 7);
  const Json qwen2 = with(form("qwen2", 64, 128, 4, 4, 100), {{"sliding_window", 5}, {"max_window_layers", 2}});
  EXPECT_EQ(load(qwen2).layers[3].window, 0);  // use_sliding_window is false where it is not given
  const Architecture used = load(with(qwen2, {{"use_sliding_window", true}}));
  EXPECT_EQ(used.layers[1].window, 0);
  EXPECT_EQ(used.layers[2].window, 5);
  const Architecture gemma2 = load(gemma_2_2b());
  EXPECT_EQ(gemma2.layers[0].window, 4096);
  EXPECT_EQ(gemma2.layers[1].window, 0);
  const Json typed = with(qwen2, {{"use_sliding_window", true}, {"layer_types", {"full_attention"}}});
  EXPECT_THAT(error_of([&] { load(typed); }), HasSubstr("layer_types"));
}

TEST(ArchFamilies, KeysThatAModelDoesNotHaveMeanNothing) {
  const Json biases = {{"attention_bias", true}, {"mlp_bias", true}};
  const Layer mistral = load(with(form("mistral", 64, 128, 1, 4, 100), biases)).layers[0];
  EXPECT_FALSE(mistral.qkv_bias || mistral.output_bias || mistral.mlp.bias);
  const Layer qwen2 = load(with(form("qwen2", 64, 128, 1, 4, 100), biases)).layers[0];
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.output_bias || qwen2.mlp.bias);
  EXPECT_TRUE(load(with(form("qwen3", 64, 128, 1, 4, 100), biases)).layers[0].output_bias);
}

TEST(ArchFamilies, Gemma2ScalesAndCaps) {
  const Architecture a =
      load(with(gemma_2_2b(), {{"query_pre_attn_scalar", 144}, {"final_logit_softcapping", nullptr}}));
  EXPECT_DOUBLE_EQ(a.layers[0].scale, 1 / 12.0);
  EXPECT_EQ(a.layers[0].soft_cap, 50);
  EXPECT_EQ(a.logits_soft_cap, 0);
  EXPECT_DOUBLE_EQ(a.embedding_scale, 48);
  EXPECT_TRUE(a.layers[0].norm_before && a.layers[0].norm_after);
  for (const TensorWish& wish : recognise_family(gemma_2_2b(), "").schema(a).wishes) {
    EXPECT_EQ(wish.plus_one, wish.name.find("norm") != std::string::npos) << wish.name;
  }
}

TEST(ArchFamilies, YarnScalesQueriesAndKeys) {
  const auto scaling = [](const Json& changes) {
    const Json yarn =
        with({{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 512}}, changes);
    return load(with(form("qwen2", 64, 128, 2, 4, 100), {{"rope_scaling", yarn}})).position.rope.scaling;
  };
  EXPECT_EQ(scaling({}).original_context, 512);
  EXPECT_NEAR(scaling({}).attention_factor, 1.138629436111989, 1e-12);  // transformers' for a factor of 4
  EXPECT_EQ(scaling({{"attention_factor", 1.5}}).attention_factor, 1.5);
  EXPECT_NEAR(scaling({{"mscale", 1.0}, {"mscale_all_dim", 1.0}}).attention_factor, 1, 1e-12);
  EXPECT_THAT(error_of([&] { scaling({{"factor", nullptr}}); }), HasSubstr("missing key: rope_scaling.factor"));
  EXPECT_EQ(scaling({{"beta_fast", 16}}).beta_fast, 16);
}

TEST(ArchFamilies, Gemma3HasTwoRopes) {
  const Json old =
      with(form("gemma3_text", 64, 96, 6, 4, 100), {{"head_dim", 16},
                                                    {"rope_theta", 500000.0},
                                                    {"rope_local_base_freq", 7000.0},
                                                    {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}}});
  const Json now = with(form("gemma3_text", 64, 96, 6, 4, 100),
                        {{"head_dim", 16},
                         {"rope_parameters",
                          {{"full_attention", {{"rope_type", "linear"}, {"rope_theta", 500000.0}, {"factor", 8.0}}},
                           {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 7000.0}}}}}});
  for (const Json& config : {old, now}) {
    const Architecture a = load(config);
    EXPECT_EQ(a.rope_of(5).base, 500000);
    EXPECT_EQ(a.rope_of(5).scaling.kind, RopeScaling::Kind::linear);
    EXPECT_EQ(a.rope_of(0).base, 7000);
    EXPECT_EQ(a.rope_of(0).scaling.kind, RopeScaling::Kind::none);
    EXPECT_EQ(a.layers[0].soft_cap, 0);
  }
  EXPECT_THAT(error_of([] {
                load(with(form("gemma3", 64, 96, 2, 4, 100), {{"text_config", Json::object()}}));
              }),
              HasSubstr("gemma3"));
}

TEST(ArchFamilies, FormsThatAreNotSupportedAreRefusedByName) {
  const Json opt = {{"model_type", "opt"},          {"hidden_size", 16},        {"ffn_dim", 32},
                    {"num_hidden_layers", 1},       {"num_attention_heads", 2}, {"vocab_size", 50},
                    {"max_position_embeddings", 20}};
  EXPECT_EQ(load(opt).position.learned_offset, 2);
  EXPECT_THAT(error_of([&] { load(with(opt, {{"do_layer_norm_before", false}})); }), HasSubstr("do_layer_norm_before"));
  EXPECT_THAT(error_of([&] { load(with(opt, {{"word_embed_proj_dim", 8}})); }), HasSubstr("word_embed_proj_dim"));
  const Json phi3 = form("phi3", 64, 128, 2, 4, 100);
  EXPECT_THAT(error_of([&] {
                load(with(phi3, {{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}}}));
              }),
              HasSubstr("longrope"));
  const Json longrope = with(phi3, {{"rope_scaling", {{"type", "longrope"}, {"short_factor", {1.0}}}}});
  EXPECT_THAT(error_of([&] { load(longrope); }), HasSubstr("longrope"));
  EXPECT_THAT(error_of([&] {
                load(with(form("qwen2", 64, 128, 2, 4, 100), {{"partial_rotary_factor", 0.5}}));
              }),
              HasSubstr("partial_rotary_factor"));
}

}  // namespace
}  // namespace headscope
