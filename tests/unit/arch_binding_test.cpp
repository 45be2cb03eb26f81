#include "core/arch/binding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/arch_support.h"

namespace headscope {
namespace {

using arch_test::error_of;
using arch_test::file_for;
using arch_test::gpt2_config;
using arch_test::llama_config;
using arch_test::load;
using arch_test::named;
using arch_test::tensor;
using arch_test::with;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

TensorSchema schema_of(const Json& config) { return recognise_family(config, "config.json").schema(load(config)); }

/// The name of the tensor that is bound to `weight` of `layer`, or "".
std::string bound_name(const TensorBinding& binding, const TensorSchema& schema, std::span<const TensorInfo> file,
                       Weight weight, int64_t layer = -1) {
  for (const BoundTensor& bound : binding.tensors) {
    for (const WeightPart& part : schema.wishes.at(bound.wish).parts) {
      if (part.weight == weight && part.layer == layer) return file[bound.tensor].name;
    }
  }
  return "";
}

struct ArchBinding : testing::Test {
  TensorSchema schema = schema_of(llama_config());
  std::vector<TensorInfo> file = file_for(schema, "model.");

  TensorBinding bind() const { return bind_tensors(schema, file, "model.safetensors"); }
  std::string bound(Weight weight, int64_t layer = -1) const { return bound_name(bind(), schema, file, weight, layer); }
  std::string error() const {
    return error_of([&] { bind(); });
  }
};

TEST_F(ArchBinding, FindsEveryTensorWhateverTheOrder) {
  std::reverse(file.begin(), file.end());
  const TensorBinding binding = bind();
  EXPECT_EQ(binding.prefix, "model.");
  EXPECT_THAT(binding.notes, IsEmpty());
  EXPECT_EQ(binding.tensors.size(), file.size());
  EXPECT_EQ(binding.parameters, parameter_count(schema));
  for (const BoundTensor& bound : binding.tensors) {
    EXPECT_EQ(file.at(bound.tensor).name, "model." + schema.wishes.at(bound.wish).name);
  }
  EXPECT_EQ(bound(Weight::key, 3), "model.layers.3.self_attn.k_proj.weight");
  EXPECT_EQ(bound(Weight::token_embedding), "model.embed_tokens.weight");
  EXPECT_EQ(bound(Weight::key, 5), "");
  EXPECT_EQ(bound(Weight::lm_head), "");
}

TEST_F(ArchBinding, PrefixesAreOptional) {
  file = file_for(schema, "");
  EXPECT_EQ(bind().prefix, "");
  const TensorSchema gpt2 = schema_of(gpt2_config(24, 3, 2));
  EXPECT_EQ(bind_tensors(gpt2, file_for(gpt2, ""), "f").prefix, "");
  EXPECT_EQ(bind_tensors(gpt2, file_for(gpt2, "transformer."), "f").prefix, "transformer.");
}

TEST_F(ArchBinding, HalfTypesAreAccepted) {
  for (TensorInfo& info : file) info.dtype = DType::bf16;
  file.front().dtype = DType::f16;
  EXPECT_NO_THROW(bind());
}

TEST_F(ArchBinding, A14TypesThatAreNoFloats) {
  TensorInfo& info = named(file, "model.norm.weight");
  info.dtype = DType::i64;
  info.dtype_text = "I64";
  EXPECT_THAT(error(), AllOf(HasSubstr("model.safetensors"), HasSubstr("\"model.norm.weight\": dtype not supported"),
                             HasSubstr("I64"), HasSubstr("F32, F16 or BF16")));
  info.dtype = DType::f64;
  EXPECT_THAT(error(), HasSubstr("dtype not supported"));
}

TEST_F(ArchBinding, A15EmptyShapes) {
  named(file, "model.norm.weight").shape = {};
  EXPECT_THAT(error(), HasSubstr("expected shape [64], found []"));
  named(file, "model.norm.weight").shape = {64};
  named(file, "model.embed_tokens.weight").shape = {0, 64};
  EXPECT_THAT(error(), HasSubstr("expected shape [512, 64], found [0, 64]"));
  named(file, "model.embed_tokens.weight").shape = {};
  EXPECT_THAT(error(), HasSubstr("found []"));
}

TEST_F(ArchBinding, B10PaddedEmbeddingsLoadWithANote) {
  named(file, "model.embed_tokens.weight").shape = {576, 64};
  const TensorBinding binding = bind();
  EXPECT_THAT(binding.notes, ElementsAre(AllOf(HasSubstr("model.embed_tokens.weight"), HasSubstr("padded"),
                                               HasSubstr("576 rows"), HasSubstr("512"), HasSubstr("last 64"))));
  EXPECT_EQ(binding.parameters, parameter_count(schema));
  named(file, "model.embed_tokens.weight").shape = {576, 65};
  EXPECT_THAT(error(), HasSubstr("[576, 65]"));
  named(file, "model.embed_tokens.weight").shape = {511, 64};
  EXPECT_THAT(error(), HasSubstr("[511, 64]"));
  named(file, "model.embed_tokens.weight").shape = {512, 64};
  named(file, "model.norm.weight").shape = {65};  // only embeddings may be padded
  EXPECT_THAT(error(), HasSubstr("[65]"));
}

TEST_F(ArchBinding, B11TiedEmbeddingsAndAnOutputHead) {
  file.push_back(tensor("lm_head.weight", {512, 64}));
  const TensorBinding binding = bind();
  EXPECT_THAT(binding.notes, ElementsAre(AllOf(HasSubstr("ties"), HasSubstr("lm_head.weight"), HasSubstr("used"))));
  EXPECT_EQ(bound(Weight::lm_head), "lm_head.weight");
  EXPECT_EQ(bound(Weight::token_embedding), "model.embed_tokens.weight");
  EXPECT_EQ(binding.parameters, parameter_count(schema));
  file.back().shape = {512, 63};
  EXPECT_THAT(error(), HasSubstr("\"lm_head.weight\": expected shape [512, 64], found [512, 63]"));
}

TEST_F(ArchBinding, B11TiedEmbeddingsStoredAsTheOutputHead) {
  named(file, "model.embed_tokens.weight").name = "lm_head.weight";
  EXPECT_THAT(bind().notes, ElementsAre(HasSubstr("the token embedding is stored as \"lm_head.weight\"")));
  EXPECT_EQ(bound(Weight::token_embedding), "lm_head.weight");
  EXPECT_EQ(bound(Weight::lm_head), "");
  named(file, "lm_head.weight").shape = {64, 512};
  EXPECT_THAT(error(), HasSubstr("\"lm_head.weight\": expected shape [512, 64], found [64, 512] (transposed)"));
  schema = schema_of(with(llama_config(), {{"tie_word_embeddings", false}}));
  named(file, "lm_head.weight").shape = {512, 64};
  EXPECT_THAT(error(), HasSubstr("\"model.embed_tokens.weight\" is missing"));
}

TEST_F(ArchBinding, B11UntiedWithoutAnOutputHead) {
  schema = schema_of(with(llama_config(), {{"tie_word_embeddings", false}}));
  EXPECT_THAT(error(), AllOf(HasSubstr("lm_head missing"), HasSubstr("tie_word_embeddings is false")));
  file.push_back(tensor("lm_head.weight", {512, 64}));
  const TensorBinding binding = bind();
  EXPECT_THAT(binding.notes, IsEmpty());
  EXPECT_EQ(binding.parameters, parameter_count(schema));
}

TEST_F(ArchBinding, B15MissingWeight) {
  std::erase_if(file, [](const TensorInfo& t) { return t.name == "model.layers.2.mlp.up_proj.weight"; });
  EXPECT_THAT(error(), HasSubstr("\"model.layers.2.mlp.up_proj.weight\" is missing (expected shape [172, 64])"));
}

TEST_F(ArchBinding, B15WrongShapes) {
  named(file, "model.layers.1.mlp.up_proj.weight").shape = {64, 172};
  EXPECT_THAT(error(),
              AllOf(HasSubstr("expected shape [172, 64], found [64, 172] (transposed)"),
                    HasSubstr("model.safetensors: 1 tensor of this llama model is missing or does not fit: ")));
  named(file, "model.layers.1.mlp.up_proj.weight").shape = {86, 128};  // the right number of elements
  EXPECT_THAT(error(), AllOf(HasSubstr("found [86, 128]"), Not(HasSubstr("transposed"))));
  named(file, "model.layers.1.mlp.up_proj.weight").shape = {172, 64, 1};
  EXPECT_THAT(error(), HasSubstr("found [172, 64, 1]"));
}

TEST_F(ArchBinding, B15LinearWhereConv1DIsExpected) {
  schema = schema_of(gpt2_config(24, 3, 1));
  file = file_for(schema, "");
  named(file, "h.0.attn.c_attn.weight").shape = {72, 24};
  EXPECT_THAT(error(), HasSubstr("\"h.0.attn.c_attn.weight\": expected shape [24, 72], found [72, 24] (transposed)"));
}

TEST_F(ArchBinding, B15TenProblemsAreListedAndTheRestCounted) {
  file.resize(1);  // the embedding
  const std::string message = error();
  EXPECT_THAT(message, AllOf(HasSubstr("46 tensors of this llama model are missing or do not fit"),
                             HasSubstr("\"model.layers.0.mlp.down_proj.weight\" is missing"),
                             HasSubstr("\"model.layers.1.input_layernorm.weight\" is missing"),
                             Not(HasSubstr("layers.1.self_attn.q_proj")), HasSubstr("; and 36 more")));
}

TEST_F(ArchBinding, B15ExtraTensorsAreANote) {
  file.push_back(tensor("model.layers.9.self_attn.q_proj.weight", {64, 64}));
  file.push_back(tensor("visual\x1b[0m.weight", {3}, DType::i64));
  const TensorBinding binding = bind();
  ASSERT_EQ(binding.notes.size(), 1u);
  EXPECT_THAT(binding.notes[0], AllOf(HasSubstr("2 tensors of the file are not used"),
                                      HasSubstr("model.layers.9.self_attn.q_proj.weight"), Not(HasSubstr("\x1b"))));
  for (int i = 0; i < 98; ++i) file.push_back(tensor(fmt::format("extra.{}", i), {1}));
  EXPECT_THAT(bind().notes.at(0), AllOf(HasSubstr("100 tensors"), HasSubstr("and 95 more")));
}

TEST_F(ArchBinding, B15BuffersNobodyNeedsAreSkippedSilently) {
  file.push_back(tensor("model.layers.0.self_attn.rotary_emb.inv_freq", {4}));
  EXPECT_THAT(bind().notes, IsEmpty());
  schema = schema_of(gpt2_config(24, 3, 1));
  file = file_for(schema, "");
  file.push_back(tensor("h.0.attn.bias", {1, 1, 1024, 1024}, DType::u8));
  file.push_back(tensor("h.0.attn.masked_bias", {}));
  EXPECT_THAT(bind().notes, IsEmpty());
}

TEST_F(ArchBinding, GptNeoXMayNameItsHeadAsTransformers5Does) {
  schema = schema_of({{"model_type", "gpt_neox"},
                      {"hidden_size", 24},
                      {"intermediate_size", 40},
                      {"num_hidden_layers", 1},
                      {"num_attention_heads", 3},
                      {"vocab_size", 50},
                      {"max_position_embeddings", 64}});
  file = file_for(schema, "gpt_neox.");
  EXPECT_EQ(bound(Weight::lm_head), "embed_out.weight");
  named(file, "embed_out.weight").name = "lm_head.weight";
  EXPECT_EQ(bound(Weight::lm_head), "lm_head.weight");
  EXPECT_THAT(bind().notes, IsEmpty());
  named(file, "lm_head.weight").name = "head.weight";
  EXPECT_THAT(error(), HasSubstr("\"embed_out.weight\" is missing"));
}

TEST_F(ArchBinding, AFileWithoutTensors) {
  file.clear();
  EXPECT_THAT(error(), HasSubstr("\"model.embed_tokens.weight\" is missing"));
}

TEST(ArchSchema, EveryWeightHasAName) {
  EXPECT_EQ(weight_name(Weight::token_embedding), "token_embedding");
  EXPECT_EQ(weight_name(Weight::mlp_down_bias), "mlp_down_bias");
  for (int w = 0; w <= static_cast<int>(Weight::mlp_down_bias); ++w) {
    EXPECT_NE(weight_name(static_cast<Weight>(w)), "unknown") << w;
  }
}

/// Every output row of every weight is given exactly once, and ranges stay inside their tensor.
TEST(ArchSchema, RowRangesCoverTheirTensors) {
  for (const Json& config :
       {gpt2_config(24, 3, 2), llama_config(), with(gpt2_config(24, 3, 2), {{"attention_head_type", "multiquery"}})}) {
    for (const TensorWish& wish : schema_of(config).wishes) {
      const int64_t rows = wish.transposed ? wish.shape.back() : wish.shape.front();
      std::vector<int> given(static_cast<size_t>(rows), 0);
      for (const WeightPart& part : wish.parts) {
        for (const RowRange& range : part.rows) {
          for (int64_t r = range.begin; r < range.begin + range.count; ++r) ++given.at(static_cast<size_t>(r));
        }
      }
      EXPECT_THAT(given, testing::Each(1)) << wish.name;
    }
  }
}

}  // namespace
}  // namespace headscope
