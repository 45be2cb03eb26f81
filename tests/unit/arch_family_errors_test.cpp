// Rows B3 to B15 of the table of bad inputs for every family: each has its own keys and rules, all have such sentences.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/unit/arch_support.h"

namespace headscope {
namespace {

using arch_test::error_of;
using arch_test::file_for;
using arch_test::load;
using arch_test::named;
using arch_test::tensor;
using arch_test::with;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

/// A family's sound config and how it spells things; "" where it has no such key.
struct Spelling {
  Json config;  ///< 4 heads over a width of 32, 2 layers
  const char *width = "hidden_size", *heads = "num_attention_heads", *layers = "num_hidden_layers";
  const char* context = "max_position_embeddings";
  const char *kv_heads = "", *head_dim = "", *epsilon = "rms_norm_eps", *theta = "rope_theta";
  bool explicit_head_dim = false;  ///< a head's size does not follow from the width
  bool whole_rope = false;         ///< rope turns all of a head
  bool tied = false;               ///< where the config does not say

  std::string type() const { return config["model_type"].get<std::string>(); }
};

Json neox_like(const char* type, const Json& more = Json::object()) {
  return with({{"model_type", type},
               {"hidden_size", 32},
               {"intermediate_size", 48},
               {"num_hidden_layers", 2},
               {"num_attention_heads", 4},
               {"vocab_size", 50},
               {"max_position_embeddings", 64}},
              more);
}

Spelling gpt2_like(const char* type) {
  const Json config = {{"model_type", type}, {"n_embd", 32},      {"n_layer", 2},
                       {"n_head", 4},        {"n_positions", 64}, {"vocab_size", 50}};
  return {.config = config,
          .width = "n_embd",
          .heads = "n_head",
          .layers = "n_layer",
          .context = "n_positions",
          .epsilon = "layer_norm_epsilon",
          .theta = "",
          .tied = true};
}

Spelling llama_like(const char* type, bool explicit_head_dim, bool tied = false) {
  return {.config = neox_like(type, {{"head_dim", 8}}),
          .kv_heads = "num_key_value_heads",
          .head_dim = "head_dim",
          .explicit_head_dim = explicit_head_dim,
          .whole_rope = true,
          .tied = tied};
}

/// Heads have sizes of their own, and one latent serves them all.
Spelling deepseek_like(const char* type) {
  const Json sizes = {{"kv_lora_rank", 12},    {"q_lora_rank", 10}, {"qk_nope_head_dim", 6},
                      {"qk_rope_head_dim", 4}, {"v_head_dim", 5},   {"n_routed_experts", nullptr}};
  return {.config = neox_like(type, sizes), .head_dim = "qk_rope_head_dim", .explicit_head_dim = true};
}

std::vector<Spelling> spellings() {
  Json opt = neox_like("opt", {{"ffn_dim", 48}});
  opt.erase("intermediate_size");
  const Json mlkv = neox_like("gpt_neox", {{"num_key_value_layers", 1}, {"num_key_value_heads", 2}});
  const Json falcon = neox_like("falcon");
  return {gpt2_like("gpt2"),
          gpt2_like("gpt_bigcode"),
          {.config = neox_like("gpt_neox"), .epsilon = "layer_norm_eps", .theta = "rotary_emb_base"},
          {.config = mlkv, .kv_heads = "num_key_value_heads", .epsilon = "layer_norm_eps", .theta = "rotary_emb_base"},
          {.config = opt, .epsilon = "", .theta = "", .tied = true},
          {.config = falcon, .epsilon = "layer_norm_epsilon", .whole_rope = true, .tied = true},
          {.config = with(falcon, {{"new_decoder_architecture", true}, {"num_kv_heads", 2}}),
           .kv_heads = "num_kv_heads",
           .epsilon = "layer_norm_epsilon",
           .whole_rope = true,
           .tied = true},
          llama_like("llama", false),
          llama_like("mistral", false),
          llama_like("qwen2", false),
          llama_like("qwen3", true),
          llama_like("phi3", false),
          llama_like("olmo2", false),
          llama_like("gemma", true, true),
          llama_like("gemma2", true, true),
          llama_like("gemma3_text", true, true),
          deepseek_like("deepseek_v2"),
          deepseek_like("deepseek_v3")};
}

class FamilyErrors : public ::testing::TestWithParam<Spelling> {
 protected:
  const Spelling& s() const { return GetParam(); }
  /// The sentence that a changed config gets.
  std::string error(const Json& changes) const {
    return error_of([&] { load(with(s().config, changes)); });
  }
  TensorSchema schema(const Json& changes = Json::object()) const {
    const Json config = with(s().config, changes);
    return recognise_family(config, "config.json").schema(load(config));
  }
};

TEST_P(FamilyErrors, TheSoundConfigLoads) { EXPECT_EQ(load(s().config).layer_count(), 2); }

TEST_P(FamilyErrors, B3AllMissingKeysAtOnce) {
  Json config = s().config;
  for (const char* key : {s().heads, s().width, s().layers, "vocab_size"}) config.erase(key);
  EXPECT_THAT(error_of([&] { load(config); }),
              AllOf(StartsWith("config.json: missing keys: "), HasSubstr(s().heads), HasSubstr(s().width),
                    HasSubstr(s().layers), HasSubstr("vocab_size")));
  EXPECT_THAT(error({{s().heads, nullptr}}), AllOf(StartsWith("config.json: missing key: "), HasSubstr(s().heads)));
}

TEST_P(FamilyErrors, B4CountsThatAreNoCounts) {
  for (const char* key : {s().heads, s().width, s().layers, "vocab_size", s().context, s().kv_heads, s().head_dim}) {
    if (*key == 0) continue;
    for (const Json& value : {Json(0), Json(-1), Json(1.5), Json("12"), Json(true), Json(int64_t{1} << 31),
                              Json(std::numeric_limits<uint64_t>::max())}) {
      EXPECT_THAT(error({{key, value}}), AllOf(StartsWith(fmt::format("config.json: {} must be a whole number", key)),
                                               HasSubstr("but is " + value.dump())));
    }
  }
}

TEST_P(FamilyErrors, B5WidthThatHeadsDoNotDivide) {
  const Json odd = {{s().width, 50}, {s().heads, 8}};
  if (s().explicit_head_dim) {  // qwen3's and gemma's heads have a size of their own where none is given
    Json config = with(s().config, odd);
    config.erase("head_dim");
    EXPECT_EQ(load(config).layers[0].q_heads, 8);
    return;
  }
  EXPECT_THAT(error(*s().head_dim ? with(odd, {{s().head_dim, nullptr}}) : odd),
              AllOf(HasSubstr(s().heads), HasSubstr("divisor of"), HasSubstr("(50)"), HasSubstr("but is 8")));
}

TEST_P(FamilyErrors, B6HeadSizeThatIsNoQuotientLoads) {
  if (*s().kv_heads == 0 || *s().head_dim == 0) return;
  const Architecture a = load(with(
      s().config, {{"hidden_size", 1792}, {"num_attention_heads", 24}, {"num_key_value_heads", 8}, {"head_dim", 128}}));
  EXPECT_EQ(a.store_of(0).key_dim, 128);
  EXPECT_EQ(a.layers[0].q_heads, 24);
  EXPECT_EQ(a.rope_of(0).dims, 128);
}

TEST_P(FamilyErrors, B7OddHeadSizeWithRope) {
  if (*s().head_dim != 0) {
    EXPECT_THAT(error({{s().head_dim, 65}}), AllOf(HasSubstr("head_dim must be even"), HasSubstr("65")));
  } else if (s().whole_rope) {
    EXPECT_THAT(error({{s().width, 65 * 4}}), AllOf(HasSubstr("rope rotates 65 of the 65"), HasSubstr("even")));
  } else {  // nothing is rotated, or a part of each head that is even
    EXPECT_EQ(load(with(s().config, {{s().width, 65 * 4}})).store_of(0).key_dim, 65);
  }
}

TEST_P(FamilyErrors, B8KvHeadsThatDoNotDivide) {
  if (*s().kv_heads == 0) return;
  for (const int kv_heads : {3, 16}) {
    EXPECT_THAT(error({{s().width, 64}, {s().heads, 8}, {s().kv_heads, kv_heads}}),
                AllOf(HasSubstr(s().kv_heads), HasSubstr("must divide num_attention_heads (8)"),
                      HasSubstr(fmt::format("but is {}", kv_heads))));
  }
  EXPECT_THAT(error({{s().kv_heads, 0}}), AllOf(HasSubstr(s().kv_heads), HasSubstr("but is 0")));
  if (s().config.contains("num_key_value_layers")) return;  // MLKV needs the number
  Json config = s().config;
  config.erase(s().kv_heads);
  EXPECT_EQ(load(config).store_of(0).kv_heads, 4);
}

TEST_P(FamilyErrors, B9SizesBeyondTheLimits) {
  EXPECT_THAT(error({{s().layers, 1000000000}}),
              HasSubstr(fmt::format("{} must be a whole number from 1 to 1024", s().layers)));
  for (const char* key : {"vocab_size", s().context}) {
    EXPECT_THAT(error({{key, int64_t{1} << 40}}), AllOf(HasSubstr(key), HasSubstr("1099511627776")));
  }
}

TEST_P(FamilyErrors, B12NumbersOfRopeAndNorms) {
  for (const Json& value : {Json(0), Json(-1), Json(NAN), Json(INFINITY), Json("1e4")}) {
    for (const char* key : {s().epsilon, s().theta}) {
      if (*key == 0) continue;
      EXPECT_THAT(error({{key, value}}),
                  StartsWith(fmt::format("config.json: {} must be a finite number above 0", key)))
          << value;
    }
  }
  if (*s().theta == 0) return;
  EXPECT_THAT(error({{"rope_scaling", {{"type", "spiral"}, {"factor", 2.0}}}}),
              AllOf(HasSubstr("rope_scaling.type must be one of"), HasSubstr("\"spiral\"")));
}

TEST_P(FamilyErrors, B13QuantisedModels) {
  for (const char* method : {"gptq", "awq", "bitsandbytes", "fp8"}) {
    EXPECT_THAT(error({{"quantization_config", {{"quant_method", method}}}}),
                AllOf(HasSubstr("quantised"), HasSubstr(method), HasSubstr("F32, F16 or BF16"),
                      HasSubstr("headscope info --tensors")));
  }
}

/// The binding of a file that was changed, or its sentence.
template <class Change>
std::string binding_error(const TensorSchema& schema, const Change& change) {
  std::vector<TensorInfo> file = file_for(schema, schema.prefixes.front());
  change(file);
  return error_of([&] { bind_tensors(schema, file, "f"); });
}

TEST_P(FamilyErrors, B10PaddedEmbeddings) {
  const TensorSchema all = schema();
  std::vector<TensorInfo> file = file_for(all, all.prefixes.front());
  file.front().shape.front() += 14;
  EXPECT_THAT(bind_tensors(all, file, "f").notes,
              testing::ElementsAre(AllOf(HasSubstr("padded"), HasSubstr("64 rows"), HasSubstr("vocabulary of 50"))));
  file.front().shape.front() = 49;
  EXPECT_THAT(error_of([&] { bind_tensors(all, file, "f"); }), HasSubstr("expected shape [50, 32], found [49, 32]"));
}

TEST_P(FamilyErrors, B11OutputHeads) {
  const TensorSchema untied = schema({{"tie_word_embeddings", false}}), tied = schema({{"tie_word_embeddings", true}});
  EXPECT_EQ(parameter_count(schema()), parameter_count(s().tied ? tied : untied));
  const std::string head = untied.wishes.back().name;
  EXPECT_THAT(binding_error(untied, [](auto& file) { file.pop_back(); }),
              AllOf(HasSubstr(head), HasSubstr("lm_head missing although tie_word_embeddings is false")));
  std::vector<TensorInfo> file = file_for(tied, tied.prefixes.front());
  EXPECT_THAT(bind_tensors(tied, file, "f").notes, IsEmpty());
  file.push_back(tensor(head, {50, 32}));
  EXPECT_THAT(bind_tensors(tied, file, "f").notes, testing::ElementsAre(AllOf(HasSubstr(head), HasSubstr("is used"))));
}

TEST_P(FamilyErrors, B15TensorsThatAreMissingOrWrong) {
  const TensorSchema all = schema();
  for (const TensorWish& wish : all.wishes) {
    if (wish.optional) continue;
    const std::string name = wish.outside_prefix ? wish.name : all.prefixes.front() + wish.name;
    const std::string shape = fmt::format("[{}]", fmt::join(wish.shape, ", "));
    const bool embedding = &wish == &all.wishes.front();  // whose absence leaves the prefix open, or an lm_head instead
    if (!embedding) {
      EXPECT_THAT(binding_error(all, [&](auto& file) { std::erase_if(file, [&](auto& t) { return t.name == name; }); }),
                  HasSubstr(fmt::format("\"{}\" is missing (expected shape {})", name, shape)));
    }
    const auto reshaped = [&](const std::vector<int64_t>& to) {
      return binding_error(all, [&](auto& file) { named(file, name).shape = to; });
    };
    std::vector<int64_t> more = wish.shape;
    more.back() += 1;
    const std::string expected = fmt::format("\"{}\": expected shape {}, found [", name, shape);
    EXPECT_THAT(reshaped(more), HasSubstr(expected));
    more = wish.shape;
    more.push_back(1);
    EXPECT_THAT(reshaped(more), HasSubstr(expected));
    if (wish.shape.size() < 2) continue;
    const bool square = wish.shape[0] == wish.shape[1];
    if (!square && !wish.more_rows_allowed) {
      EXPECT_THAT(reshaped({wish.shape[1], wish.shape[0]}), AllOf(HasSubstr(expected), HasSubstr("(transposed)")));
    }
    EXPECT_THAT(reshaped({wish.shape[0] / 2, wish.shape[1] * 2}), HasSubstr(expected));  // as many elements
  }
}

TEST_P(FamilyErrors, B15TenAreListed) {
  const std::string message = binding_error(schema(), [](auto& file) { file.resize(1); });
  const auto problems = std::ssize(file_for(schema(), "")) - 1;
  EXPECT_THAT(message, AllOf(HasSubstr(fmt::format("f: {} tensors of this ", problems)),
                             HasSubstr(fmt::format("; and {} more", problems - 10))));
}

TEST_P(FamilyErrors, B15ExtraTensorsAreANote) {
  const TensorSchema all = schema();
  std::vector<TensorInfo> file = file_for(all, all.prefixes.front());
  file.push_back(tensor("another.weight", {3}));
  EXPECT_THAT(bind_tensors(all, file, "f").notes,
              Contains(HasSubstr("1 tensor of the file is not used: \"another.weight\"")));
}

INSTANTIATE_TEST_SUITE_P(All, FamilyErrors, ::testing::ValuesIn(spellings()), [](const auto& test) {
  const Spelling& s = test.param;
  if (s.config.contains("num_key_value_layers")) return std::string("mlkv");
  return s.type() + (s.config.contains("new_decoder_architecture") ? "_grouped" : "");
});

/// Every family of the list has its tests above; our own config has its in tests/cli/test_own_format.py.
TEST(FamilyErrorsList, IsComplete) {
  std::vector<std::string_view> tested = {"headscope"};
  for (const Spelling& s : spellings()) tested.push_back(recognise_family(s.config, "").name);
  for (const Family& family : families()) EXPECT_THAT(tested, Contains(family.name));
}

}  // namespace
}  // namespace headscope
