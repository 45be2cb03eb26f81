// The published models: which is which, by name and by shape.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

#include "core/arch/published.h"
#include "tests/unit/arch_support.h"

namespace headscope {
namespace {

using arch_test::load;
using arch_test::with;
using testing::ElementsAre;
using testing::IsEmpty;

const PublishedModel& named(std::string_view name) {
  const PublishedModel* found = published_of_name(name);
  if (found == nullptr) throw std::out_of_range(std::string(name));
  return *found;
}

/// The model that it is, parameters and all.
const PublishedModel* recognised(const Architecture& architecture) {
  const ShapeMatch match = published_of_shape(architecture);
  return match.same_parameters ? match.model : nullptr;
}

// max_position_embeddings of their configs
TEST(ArchPublished, NamesOfOneShapeMayHaveOtherContexts) {
  const std::pair<const char*, int64_t> contexts[] = {{"Llama-3-8B", 8192},
                                                      {"Llama-3.1-8B", 131'072},
                                                      {"Llama-3.3-70B-Instruct", 131'072},
                                                      {"Qwen2-7B", 131'072},
                                                      {"Qwen2-7B-Instruct", 32'768},
                                                      {"Qwen2.5-7B", 131'072},
                                                      {"Qwen2.5-7B-Instruct", 32'768},
                                                      {"Qwen2-0.5B", 131'072},
                                                      {"Qwen2.5-0.5B", 32'768},
                                                      {"Qwen2.5-72B", 131'072},
                                                      {"qwen2.5-72b-instruct", 32'768},
                                                      {"Qwen2.5-3B-Instruct", 32'768},
                                                      {"Qwen3-8B", 40'960},
                                                      {"Qwen3-8B-Base", 32'768},
                                                      {"Qwen1.5-7B-Chat", 32'768}};
  for (const auto& [name, context] : contexts) {
    EXPECT_EQ(published_architecture(named(name), name).context, context) << name;
  }
  for (const PublishedModel& model : published_models()) {
    std::istringstream others{std::string(model.others)};
    for (std::string name; others >> name;) EXPECT_TRUE(model.is_called(name)) << name;
    EXPECT_EQ(model.others.empty(), model.others_context == 0) << model.name();
  }
}

TEST(ArchPublished, ShapesAndNamesAreTheirOwn) {
  std::set<std::string> names;
  std::map<ShapeFacts, std::string_view> shapes;
  for (const PublishedModel& model : published_models()) {
    EXPECT_EQ(recognised(published_architecture(model)), &model) << model.name();
    const auto [other, fresh] = shapes.emplace(shape_facts(published_architecture(model)), model.name());
    EXPECT_TRUE(fresh) << model.name() << " and " << other->second;
    std::istringstream list{std::string(model.names)};
    for (std::string name; list >> name;) {
      EXPECT_TRUE(names.insert(name).second) << name;
      EXPECT_EQ(published_of_name(name), &model) << name;
    }
  }
}

TEST(ArchPublished, NamesAreWholeAndOfAnyCase) {
  EXPECT_EQ(named("GPT2").name(), "gpt2");
  EXPECT_EQ(named("llama-3.2-1b").name(), "Llama-3.2-1B");
  for (const char* other : {"", " ", "gpt", "gpt2-", "gpt2 gpt2-small", "pythia", "my-gpt2"}) {
    EXPECT_EQ(published_of_name(other), nullptr) << other;
  }
}

TEST(ArchPublished, RealConfigsAreRecognised) {
  EXPECT_EQ(recognised(load(arch_test::gpt2_config())), &named("gpt2"));
  EXPECT_EQ(recognised(load(arch_test::llama_config())), &named("stories260K"));
  EXPECT_EQ(recognised(load(arch_test::llama_3_2_1b_config())), &named("Llama-3.2-1B"));
  EXPECT_EQ(recognised(load(arch_test::smollm2_135m_config())), &named("SmolLM2-135M"));
  EXPECT_EQ(recognised(load(arch_test::tinyllama_1_1b_config())), &named("TinyLlama"));
}

TEST(ArchPublished, EveryPartOfAShapeCounts) {
  const std::pair<Json, const char*> changes[] = {
      {{{"num_hidden_layers", 6}}, "layers 6 (published 5)"},
      {{{"hidden_size", 72}}, "model width 72 (published 64)"},
      {{{"vocab_size", 513}}, "vocabulary 513 (published 512)"},
      {{{"num_attention_heads", 16}}, "query heads 16 (published 8)"},
      {{{"num_key_value_heads", 2}},
       "keys and values 2 x (8 + 8) of every layer (published 4 x (8 + 8) of every layer)"},
      {{{"head_dim", 10}}, "keys and values 4 x (10 + 10) of every layer (published 4 x (8 + 8) of every layer)"},
      {{{"intermediate_size", 100}}, "feed-forward width 100 (published 172)"},
      {{{"tie_word_embeddings", false}}, "tied embeddings no (published yes)"},
  };
  for (const auto& [change, words] : changes) {
    const Architecture a = load(with(arch_test::llama_config(), change));
    EXPECT_EQ(published_of_shape(a).model, nullptr) << words;
    EXPECT_THAT(shape_differences(a, named("stories260K")), ElementsAre(words));
  }
  EXPECT_THAT(shape_differences(load(arch_test::llama_config()), named("stories260K")), IsEmpty());
  EXPECT_THAT(
      shape_differences(published_architecture(named("pythia-160m-mlkv-12")), named("pythia-160m-mqa-12")),
      ElementsAre("keys and values 3 x (64 + 64) of layers 0, 3, 6, 9 (published 1 x (64 + 64) of every layer)"));
}

TEST(ArchPublished, FamilyAndWindowsTellShapesApart) {
  const Json mistral =
      with(published_config(named("stories260K")), {{"model_type", "mistral"}, {"sliding_window", 64}});
  EXPECT_THAT(shape_differences(load(mistral), named("stories260K")),
              ElementsAre("family mistral (published llama)", "windows 64 in every layer (published none)"));
  EXPECT_THAT(shape_differences(published_architecture(named("gemma-3-1b")), named("gemma-3-270m")),
              testing::Contains("windows 512 in 22 of 26 layers (published 512 in 15 of 18 layers)"));
  EXPECT_EQ(recognised(published_architecture(named("Mistral-7B-v0.2"))), &named("Mistral-7B-v0.2"));
}

TEST(ArchPublished, OtherParametersAreAnotherModel) {
  const std::tuple<const char*, Json, const char*> changes[] = {
      {"gpt2", {{"n_positions", 2048}}, "parameters 125,226,240 (published 124,439,808)"},
      {"stories260K", {{"attention_bias", true}}, "parameters 260,992 (published 260,032)"},
      {"DeepSeek-V2-Lite", {{"n_shared_experts", 1}}, "parameters 15,481,564,672 (published 15,706,484,224)"},
      {"DeepSeek-V2-Lite", {{"q_lora_rank", 1536}}, "parameters 15,748,993,024 (published 15,706,484,224)"},
      {"DeepSeek-V2-Lite", {{"qk_nope_head_dim", 64}}, "parameters 15,635,705,344 (published 15,706,484,224)"},
      {"DeepSeek-V2-Lite", {{"v_head_dim", 64}}, "parameters 15,635,705,344 (published 15,706,484,224)"},
  };
  for (const auto& [name, change, words] : changes) {
    const Architecture a = load(with(published_config(named(name)), change));
    EXPECT_EQ(published_of_shape(a).model, &named(name)) << words;
    EXPECT_FALSE(published_of_shape(a).same_parameters) << words;
    EXPECT_THAT(shape_differences(a, named(name)), ElementsAre(words));
  }
  const auto lite = [](const char* key, int64_t value) {
    return load(with(published_config(named("DeepSeek-V2-Lite")), {{key, value}}));
  };
  EXPECT_EQ(published_of_shape(lite("num_experts_per_tok", 4)).model, nullptr);  // which no parameter tells
  EXPECT_THAT(shape_differences(lite("n_routed_experts", 32), named("DeepSeek-V2-Lite")),
              ElementsAre("mixture 32 experts, 6 a token, in 26 of 27 layers (published 64 experts, 6 a token, in 26 "
                          "of 27 layers)"));
}

TEST(ArchPublished, FactsOfAMixtureCanBeRead) {
  const auto fact = [](const char* model, std::string_view what) {
    for (const auto& [name, value] : shape_facts(published_architecture(named(model)))) {
      if (name == what) return value;
    }
    return std::string("no such fact");
  };
  EXPECT_EQ(fact("DeepSeek-V2-Lite", "feed-forward width"), "10,944, then 1,408 in 26 layers");
  EXPECT_EQ(fact("DeepSeek-V3", "feed-forward width"), "18,432 in 3 layers, then 2,048 in 58 layers");
  EXPECT_EQ(fact("DeepSeek-V3", "keys and values"), "latent 512 + rope key 64 of every layer");
  EXPECT_EQ(fact("gpt2", "mixture"), "none");
}

TEST(ArchPublished, TokenizersAreKnown) {
  std::set<std::string_view> tokenizers;
  for (const PublishedIds& one : published_ids()) {
    tokenizers.insert(one.tokenizer);
    EXPECT_FALSE(one.ids.empty());
    if (one.tokenizer == "gpt2" && one.text == "Hello world") {
      EXPECT_THAT(one.ids, ElementsAre(15496, 995));
    }
  }
  EXPECT_THAT(tokenizers, testing::UnorderedElementsAre("gpt2", "gpt-neox-20b", "stories260K"));
  for (const PublishedModel& model : published_models()) {
    EXPECT_TRUE(model.tokenizer.empty() || tokenizers.contains(model.tokenizer)) << model.name();
  }
}

}  // namespace
}  // namespace headscope
