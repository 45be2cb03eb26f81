// The rows of robustness.md, table B, that concern config.json. Each name starts with the row's id.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/arch_support.h"

namespace headscope {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();  // what 1e400 would be

using arch_test::error_of;
using arch_test::gpt2_config;
using arch_test::llama_config;
using arch_test::load;
using arch_test::with;
using arch_test::without;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string llama_error(const Json& changes) {
  return error_of([&] { load(with(llama_config(), changes)); });
}

std::string gpt2_error(const Json& changes) {
  return error_of([&] { load(with(gpt2_config(), changes)); });
}

/// 0, -1, 1.5, text, true, too large: what no size may be.
std::vector<Json> bad_sizes() {
  return {0,
          -1,
          1.5,
          12.0,
          "12",
          true,
          Json::array({12}),
          Json::object(),
          int64_t{1} << 31,
          std::numeric_limits<uint64_t>::max(),
          infinity};
}

TEST(ArchRobustness, B2ConfigThatIsNoObject) {
  for (const Json& config : {Json(Json::array()), Json(5), Json("llama"), Json(nullptr)}) {
    EXPECT_THAT(error_of([&] { load(config); }), HasSubstr("config.json: the config must be an object"));
  }
}

TEST(ArchRobustness, B3AllMissingKeysAtOnce) {
  const std::string error = error_of([] {
    load(without(llama_config(), {"num_attention_heads", "hidden_size", "num_hidden_layers", "vocab_size"}));
  });
  EXPECT_EQ(error, "config.json: missing keys: hidden_size, num_hidden_layers, num_attention_heads, vocab_size");
  EXPECT_EQ(error_of([] {
              load(without(gpt2_config(), {"n_head", "vocab_size"}));
            }),
            "config.json: missing keys: n_head (or num_attention_heads), vocab_size");
  EXPECT_EQ(error_of([] {
              load(without(gpt2_config(), {"n_positions", "n_ctx"}));
            }),
            "config.json: missing key: n_positions (or n_ctx)");
  EXPECT_THAT(llama_error({{"hidden_size", nullptr}}), HasSubstr("missing key: hidden_size"));
}

TEST(ArchRobustness, B4CountsThatAreNoCounts) {
  for (const char* key : {"num_attention_heads", "num_hidden_layers", "hidden_size", "vocab_size",
                          "max_position_embeddings", "intermediate_size", "num_key_value_heads", "head_dim"}) {
    for (const Json& value : bad_sizes()) {
      SCOPED_TRACE(fmt::format("{} {}", key, value.dump()));
      EXPECT_THAT(llama_error({{key, value}}),
                  AllOf(StartsWith("config.json: "), HasSubstr(key), HasSubstr("must be a whole number from 1 to")));
    }
  }
  for (const char* key : {"n_head", "n_layer", "n_embd", "n_positions", "n_inner", "vocab_size"}) {
    for (const Json& value : bad_sizes()) {
      SCOPED_TRACE(fmt::format("{} {}", key, value.dump()));
      EXPECT_THAT(gpt2_error({{key, value}}), AllOf(HasSubstr(key), HasSubstr("must be a whole number from 1 to")));
    }
  }
  EXPECT_EQ(llama_error({{"num_attention_heads", -1}}),
            "config.json: num_attention_heads must be a whole number from 1 to 4096, but is -1");
  EXPECT_EQ(llama_error({{"num_attention_heads", "12"}}),
            "config.json: num_attention_heads must be a whole number from 1 to 4096, but is \"12\"");
  EXPECT_THAT(llama_error({{"num_attention_heads", 1.5}}), HasSubstr("but is 1.5"));
  EXPECT_THAT(llama_error({{"num_attention_heads", true}}), HasSubstr("but is true"));
}

TEST(ArchRobustness, B5HiddenSizeThatHeadsDoNotDivide) {
  EXPECT_THAT(llama_error({{"hidden_size", 50}, {"head_dim", nullptr}}),
              AllOf(HasSubstr("num_attention_heads"), HasSubstr("divisor of hidden_size (50)"), HasSubstr("but is 8")));
  EXPECT_THAT(gpt2_error({{"n_head", 7}}), AllOf(HasSubstr("n_head"), HasSubstr("divisor of n_embd (768)")));
}

TEST(ArchRobustness, B6ExplicitHeadSizeThatIsNoQuotientLoads) {
  const Architecture a =
      load(with(llama_config(),
                {{"hidden_size", 1792}, {"num_attention_heads", 24}, {"num_key_value_heads", 8}, {"head_dim", 128}}));
  EXPECT_EQ(a.store_of(0).key_dim, 128);
  EXPECT_EQ(a.position.rope.dims, 128);
  EXPECT_EQ(a.layers[0].q_heads, 24);
}

TEST(ArchRobustness, B7OddHeadSizeWithRope) {
  EXPECT_THAT(llama_error({{"head_dim", 65}}), AllOf(HasSubstr("head_dim must be even"), HasSubstr("65")));
  EXPECT_THAT(llama_error({{"head_dim", nullptr}, {"hidden_size", 40}}), AllOf(HasSubstr("even"), HasSubstr("= 5")));
}

TEST(ArchRobustness, B8KvHeadsThatDoNotDivide) {
  EXPECT_THAT(llama_error({{"num_key_value_heads", 3}}),
              AllOf(HasSubstr("num_key_value_heads"), HasSubstr("must divide")));
  EXPECT_THAT(llama_error({{"num_key_value_heads", 16}}), HasSubstr("must divide num_attention_heads (8), but is 16"));
  EXPECT_THAT(llama_error({{"num_key_value_heads", 0}}), HasSubstr("num_key_value_heads"));
  EXPECT_EQ(variant_name(load(without(llama_config(), {"num_key_value_heads"}))), "MHA");
  EXPECT_EQ(variant_name(load(with(llama_config(), {{"num_key_value_heads", nullptr}}))), "MHA");
}

TEST(ArchRobustness, B9SizesBeyondTheLimits) {
  EXPECT_THAT(llama_error({{"num_hidden_layers", 1000000000}}),
              HasSubstr("num_hidden_layers must be a whole number from 1 to 1024"));
  EXPECT_THAT(llama_error({{"vocab_size", int64_t{1} << 40}}), HasSubstr("vocab_size"));
  EXPECT_THAT(llama_error({{"max_position_embeddings", int64_t{1} << 40}}), HasSubstr("max_position_embeddings"));
  EXPECT_THAT(gpt2_error({{"n_layer", 1000000000}}), HasSubstr("n_layer"));
  EXPECT_THAT(llama_error({{"num_attention_heads", 4096}, {"head_dim", 65536}}),
              HasSubstr("config.json: layers[0].q_heads * key_dim"));
}

TEST(ArchRobustness, B12RopeAndNormNumbers) {
  for (const Json& value :
       {Json(0), Json(-1), Json(std::numeric_limits<double>::quiet_NaN()), Json(infinity), Json("1e4")}) {
    EXPECT_THAT(llama_error({{"rope_theta", value}}), HasSubstr("config.json: rope_theta must be")) << value;
    EXPECT_THAT(llama_error({{"rms_norm_eps", value}}), HasSubstr("config.json: rms_norm_eps must be")) << value;
    EXPECT_THAT(gpt2_error({{"layer_norm_epsilon", value}}), HasSubstr("layer_norm_epsilon must be")) << value;
    EXPECT_THAT(llama_error({{"rope_parameters", {{"rope_theta", value}}}}), HasSubstr("rope_parameters.rope_theta"))
        << value;
    EXPECT_THAT(llama_error({{"rope_scaling", {{"type", "linear"}, {"factor", value}}}}),
                HasSubstr("rope_scaling.factor"))
        << value;
  }
  EXPECT_THAT(llama_error({{"rope_theta", 0.5}}), HasSubstr("at least 1"));
}

TEST(ArchRobustness, B12RopeScaling) {
  EXPECT_THAT(
      llama_error({{"rope_scaling", {{"type", "longrope"}, {"factor", 4.0}}}}),
      AllOf(HasSubstr("rope_scaling.type must be one of default, linear, llama3, yarn"), HasSubstr("\"longrope\"")));
  EXPECT_THAT(llama_error({{"rope_parameters", {{"rope_type", "spiral"}}}}),
              AllOf(HasSubstr("rope_parameters.rope_type"), HasSubstr("\"spiral\"")));
  EXPECT_THAT(llama_error({{"rope_scaling", {{"type", 4}, {"factor", 4.0}}}}),
              HasSubstr("rope_scaling.type must be a text"));
  EXPECT_THAT(llama_error({{"rope_scaling", 4}}), HasSubstr("rope_scaling must be an object, but is 4"));
  EXPECT_THAT(llama_error({{"rope_scaling", {{"type", "linear"}}}}), HasSubstr("missing key: rope_scaling.factor"));
  EXPECT_THAT(
      llama_error({{"rope_scaling", {{"rope_type", "llama3"}}}}),
      HasSubstr("missing keys: rope_scaling.factor, rope_scaling.low_freq_factor, rope_scaling.high_freq_factor"));
  const Json band = {{"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 4.0}, {"high_freq_factor", 4.0}};
  EXPECT_THAT(llama_error({{"rope_scaling", band}}),
              HasSubstr("rope_scaling.high_freq_factor must be above low_freq_factor (4)"));
  EXPECT_THAT(
      llama_error({{"rope_scaling", with(band, {{"high_freq_factor", 8}, {"original_max_position_embeddings", 0}})}}),
      HasSubstr("rope_scaling.original_max_position_embeddings"));
}

TEST(ArchRobustness, B13UnknownModels) {
  const auto error = [](const Json& config) { return error_of([&] { recognise_family(config, "config.json"); }); };
  for (const char* type :
       {"llada2_moe", "qwen3_5", "mixtral", "gpt2x", "deepseek_v4", "deepseek_vl_v2", "mamba", "t5", "bert", ""}) {
    EXPECT_THAT(error(with(gpt2_config(), {{"model_type", type}})),
                AllOf(HasSubstr(fmt::format("architecture \"{}\" is not supported; supported: gpt2, gpt_neox, ", type)),
                      HasSubstr("headscope info --tensors")));
  }
  for (const char* type : {"qwen3_5", "gemma3", "llava", "mistral3"}) {
    EXPECT_THAT(error({{"model_type", type}, {"text_config", llama_config()}}),
                AllOf(HasSubstr(fmt::format("\"{}\" is not supported: its text model stands in text_config", type)),
                      HasSubstr("; supported: gpt2, ")));
  }
  EXPECT_THAT(error({{"model_type", "qwen3_5"}, {"text_config", 3}}), HasSubstr("\"qwen3_5\" is not supported; "));
  EXPECT_THAT(error(without(llama_config(), {"model_type", "architectures"})),
              HasSubstr("neither model_type nor architectures"));
  EXPECT_THAT(error(Json::object()), HasSubstr("supported: gpt2, gpt_neox, "));
  EXPECT_THAT(error({{"architectures", {"MixtralForCausalLM"}}}), HasSubstr("\"MixtralForCausalLM\""));
  EXPECT_THAT(error({{"model_type", 7}, {"architectures", "LlamaForCausalLM"}}),
              HasSubstr("model_type must be a text, but is 7"));
}

TEST(ArchRobustness, B13ArchitecturesSpeakWhenModelTypeIsMissing) {
  EXPECT_EQ(recognise_family(without(gpt2_config(), {"model_type"}), "").name, "gpt2");
  EXPECT_EQ(recognise_family(without(llama_config(), {"model_type"}), "").name, "llama");
  EXPECT_EQ(recognise_family(with(llama_config(), {{"model_type", nullptr}}), "").name, "llama");
}

TEST(ArchRobustness, B13QuantisedModels) {
  EXPECT_THAT(
      llama_error({{"quantization_config", {{"quant_method", "gptq"}, {"bits", 4}}}}),
      AllOf(HasSubstr("quantised"), HasSubstr("\"gptq\""), HasSubstr("F16"), HasSubstr("headscope info --tensors")));
  EXPECT_THAT(llama_error({{"quantization_config", Json::object()}}), HasSubstr("\"unknown\""));
  EXPECT_NO_THROW(load(with(llama_config(), {{"quantization_config", nullptr}})));
}

TEST(ArchRobustness, C8SpecialTokenIds) {
  std::vector<std::string> notes;
  const Architecture a = load(with(llama_config(), {{"bos_token_id", 512}, {"eos_token_id", {2, 7, -1, 600}}}), &notes);
  EXPECT_FALSE(a.bos_id.has_value());
  EXPECT_THAT(a.eos_ids, ElementsAre(2, 7));
  EXPECT_THAT(notes, ElementsAre(HasSubstr("bos_token_id 512 is outside the vocabulary of 512"),
                                 HasSubstr("eos_token_id -1"), HasSubstr("eos_token_id 600")));
  EXPECT_TRUE(load(with(llama_config(), {{"eos_token_id", nullptr}})).eos_ids.empty());
  for (const Json& value : {Json("2"), Json(1.5), Json(true), Json::object(), Json({1, "2"}), Json(int64_t{1} << 40),
                            Json(std::numeric_limits<uint64_t>::max())}) {
    EXPECT_THAT(llama_error({{"eos_token_id", value}}), HasSubstr("eos_token_id must be a token id")) << value;
  }
}

TEST(ArchRobustness, ValuesOfTheWrongKindAreShownSafely) {
  EXPECT_THAT(llama_error({{"tie_word_embeddings", "yes"}}),
              HasSubstr("tie_word_embeddings must be true or false, but is \"yes\""));
  EXPECT_THAT(llama_error({{"hidden_act", 3}}), HasSubstr("hidden_act must be a text, but is 3"));
  const std::string error = llama_error({{"hidden_act", "a\x1b[31m\n" + std::string(100000, 'x')}});
  EXPECT_LT(error.size(), 600u);
  EXPECT_THAT(error, AllOf(Not(HasSubstr("\x1b")), Not(HasSubstr("\n"))));
}

}  // namespace
}  // namespace headscope
