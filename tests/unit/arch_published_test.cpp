// The published models: what their shapes give against the numbers that were published.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "core/arch/published.h"
#include "tests/unit/arch_support.h"

namespace headscope {
namespace {

using arch_test::load;
using arch_test::with;
using testing::ElementsAre;
using testing::HasSubstr;
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

TEST(ArchPublished, EveryShapeGivesItsNumbers) {
  for (const PublishedModel& model : published_models()) {
    const Json config = published_config(model);
    const Architecture a = published_architecture(model);
    EXPECT_EQ(parameter_count(recognise_family(config, "").schema(a)), model.parameters) << model.name();
    EXPECT_EQ(kv_bytes_per_token(a, 1), model.kv_elements) << model.name();
    EXPECT_THAT(std::string(model.source), HasSubstr("/")) << model.name();
  }
}

// kv-variants.md 3.0, 1.1 and 4 (bytes for one token at 16 bit), typed again; and what their variants are called.
TEST(ArchPublished, NumbersAreThoseOfTheirSources) {
  const std::tuple<const char*, int64_t, int64_t, const char*> sources[] = {
      {"gpt2", 124'439'808, 36'864, "MHA"},
      {"gpt2-medium", 354'823'168, 98'304, "MHA"},
      {"gpt2-large", 774'030'080, 184'320, "MHA"},
      {"gpt2-xl", 1'557'611'200, 307'200, "MHA"},
      {"pythia-70m", 70'426'624, 12'288, "MHA"},
      {"pythia-160m-deduped", 162'322'944, 36'864, "MHA"},
      {"pythia-410m", 405'334'016, 98'304, "MHA"},
      {"pythia-160m-gqa-48", 162'316'800, 12 * 1024, "GQA-4"},
      {"pythia-160m-mqa-12", 162'332'940, 3072, "MQA"},
      {"pythia-160m-mlkv-48", 162'316'800, 12 * 1024, "MLKV 4x12"},
      {"pythia-160m-mlkv-12", 162'332'940, 3072, "MLKV 4x3"},
      {"pythia-160m-mlkv-6", 162'332'556, 1536, "CLA-2 MQA"},
      {"pythia-160m-mlkv-4", 162'320'132, 1024, "MLKV 4x1"},
      {"pythia-160m-mlkv-2", 162'326'152, 512, "MLKV 2x1"},
      {"pythia-160m-mlkv-1", 162'319'940, 256, "MLKV 1x1"},
      {"falcon-rw-1b", 1'311'625'216, 196'608, "MHA"},
      {"falcon-7b", 6'921'720'704, 8192, "MQA"},
      {"tiny_starcoder_py", 164'144'128, 5120, "MQA"},
      {"starcoderbase-1b", 1'137'207'296, 12'288, "MQA"},
      {"starcoder", 15'517'456'384, 20'480, "MQA"},
      {"gemma-2b", 2'506'172'416, 18'432, "MQA"},
      {"gemma-2-2b", 2'614'341'888, 106'496, "GQA-4, window 4096 in 13 of 26 layers"},
      {"gemma-3-270m", 268'098'176, 18'432, "MQA, window 512 in 15 of 18 layers"},
      {"gemma-3-1b", 999'885'952, 26'624, "MQA, window 512 in 22 of 26 layers"},
      {"Llama-3.2-1B", 1'235'814'400, 32'768, "GQA-8"},
      {"TinyLlama", 1'100'048'384, 22'528, "GQA-4"},
      {"SmolLM2-135M", 134'515'008, 23'040, "GQA-3"},
      {"Qwen2-0.5B", 494'032'768, 12'288, "GQA-2"},
      {"Qwen3-0.6B", 596'049'920, 114'688, "GQA-8"},
      {"Mistral-7B-v0.1", 7'241'732'096, 131'072, "GQA-8, window 4096"},
      {"Falcon3-1B", 1'669'408'768, 73'728, "GQA-4"},
      {"stories260K", 260'032, 640, "GQA-4"},
      {"GPT-3", 174'604'259'328, 4'718'592, "MHA"},  // 174,600 million in the paper's appendix D
      {"falcon-40b", 41'303'293'952, 122'880, "GQA-8"},
      {"falcon-180B", 178'557'088'768, 163'840, "GQA-8"},  // 179,522,565,120 with the output head as its own
      {"starcoderbase-3b", 3'043'311'104, 18'432, "MQA"},
      {"starcoderbase-7b", 7'327'263'232, 21'504, "MQA"},
      {"santacoder-1.1b", 1'124'886'528, 12'288, "MQA"},
      {"Llama-2-7b", 6'738'415'616, 524'288, "MHA"},
      {"Llama-2-13b", 13'015'864'320, 819'200, "MHA"},
      {"Llama-2-70b", 68'976'648'192, 327'680, "GQA-8"},
      {"Llama-3-8B", 8'030'261'248, 131'072, "GQA-8"},
      {"Llama-3-70B", 70'553'706'496, 327'680, "GQA-8"},
      {"Llama-3.1-405B", 405'853'388'800, 516'096, "GQA-8"},
      {"Llama-3.2-3B", 3'212'749'824, 114'688, "GQA-8"},
      {"SmolLM2-360M", 361'821'120, 40'960, "GQA-5"},
      {"SmolLM2-1.7B", 1'711'376'384, 196'608, "MHA"},
      {"Mistral-7B-v0.3", 7'248'023'552, 131'072, "GQA-8"},
      {"Mistral-Nemo", 12'247'782'400, 163'840, "GQA-8"},
      {"Qwen2-1.5B", 1'543'714'304, 28'672, "GQA-2"},
      {"Qwen2.5-3B", 3'085'938'688, 36'864, "GQA-2"},
      {"Qwen2-7B", 7'615'616'512, 57'344, "GQA-4"},
      {"Qwen2.5-14B", 14'770'033'664, 196'608, "GQA-8"},
      {"Qwen2.5-32B", 32'763'876'352, 262'144, "GQA-8"},
      {"Qwen2-72B", 72'706'203'648, 327'680, "GQA-8"},
      {"Qwen3-1.7B", 1'720'574'976, 114'688, "GQA-8"},
      {"Qwen3-4B", 4'022'468'096, 147'456, "GQA-8"},
      {"Qwen3-8B", 8'190'735'360, 147'456, "GQA-8"},
      {"Qwen3-14B", 14'768'307'200, 163'840, "GQA-8"},
      {"Qwen3-32B", 32'762'123'264, 262'144, "GQA-8"},
      {"gemma-7b", 8'537'680'896, 458'752, "MHA"},
      {"gemma-2-9b", 9'241'705'984, 344'064, "GQA-8, window 4096 in 21 of 42 layers"},
      {"gemma-2-27b", 27'227'128'320, 376'832, "GQA-16, window 4096 in 23 of 46 layers"},
      // With the vision tower (416,866,032) and its projection (1,152 x (width + 1)) 4,300,079,472, 12,187,325,040 and
      // 27,432,406,640 parameters were published.
      {"gemma-3-4b", 4'300'079'472 - 416'866'032 - 1152 * 2561, 139'264, "GQA-4, window 1024 in 29 of 34 layers"},
      {"gemma-3-12b", 12'187'325'040 - 416'866'032 - 1152 * 3841, 393'216, "GQA-8, window 1024 in 40 of 48 layers"},
      {"gemma-3-27b", 27'432'406'640 - 416'866'032 - 1152 * 5377, 507'904, "GQA-16, window 1024 in 52 of 62 layers"},
      {"deepseek-llm-7b", 6'910'365'696, 491'520, "MHA"},
      {"deepseek-llm-67b", 67'425'001'472, 389'120, "GQA-8"},
      {"DeepSeek-V2-Lite", 15'706'484'224, 31'104, "MLA"},
      {"DeepSeek-V2", 235'741'434'880, 69'120, "MLA"},
      {"DeepSeek-V3", 671'026'419'200, 70'272, "MLA"},
  };
  for (const auto& [name, parameters, bytes, variant] : sources) {
    EXPECT_EQ(named(name).parameters, parameters) << name;
    EXPECT_EQ(named(name).kv_elements * 2, bytes) << name;
    EXPECT_EQ(variant_name(published_architecture(named(name))), variant) << name;
  }
}

// kv-variants.md 4: MiB at 16 bit and 1,024, 4,096, 8,192 and 32,768 tokens
TEST(ArchPublished, WindowsBoundTheCachesOfHybrids) {
  const std::pair<const char*, std::vector<double>> sums[] = {{"gemma-2-2b", {104, 416, 624, 1872}},
                                                              {"gemma-3-1b", {15, 27, 43, 139}},
                                                              {"gemma-3-270m", {10.5, 19.5, 31.5, 103.5}}};
  const int64_t tokens[] = {1024, 4096, 8192, 32768};
  for (const auto& [name, mebibytes] : sums) {
    for (size_t i = 0; i < std::size(tokens); ++i) {
      EXPECT_EQ(static_cast<double>(kv_bytes(published_architecture(named(name)), 1, tokens[i], 2)) / (1 << 20),
                mebibytes[i])
          << name;
    }
  }
}

// kv-variants.md 4: what 1,024 tokens take at 16 bit, MiB
TEST(ArchPublished, ThousandTokensOfTheTable) {
  const std::pair<const char*, double> rows[] = {{"gpt2", 36},
                                                 {"gpt2-medium", 96},
                                                 {"pythia-160m", 36},
                                                 {"pythia-410m", 96},
                                                 {"falcon-rw-1b", 192},
                                                 {"falcon-7b", 8},
                                                 {"falcon-40b", 120},
                                                 {"falcon-180B", 160},
                                                 {"tiny_starcoder_py", 5},
                                                 {"starcoderbase-1b", 12},
                                                 {"starcoder", 20},
                                                 {"gemma-2b", 18},
                                                 {"gemma-2-2b", 104},
                                                 {"Llama-2-7b", 512},
                                                 {"Llama-3-8B", 128},
                                                 {"Mistral-7B-v0.1", 128},
                                                 {"Llama-3.2-1B", 32},
                                                 {"SmolLM2-135M", 22.5},
                                                 {"Qwen2-0.5B", 12},
                                                 {"Qwen3-0.6B", 112},
                                                 {"TinyLlama", 22},
                                                 {"Falcon3-1B", 72},
                                                 {"DeepSeek-V2-Lite", 30.375},
                                                 {"DeepSeek-V2", 67.5},
                                                 {"DeepSeek-V3", 68.625}};
  for (const auto& [name, mebibytes] : rows) {
    EXPECT_EQ(static_cast<double>(kv_bytes(published_architecture(named(name)), 1, 1024, 2)) / (1 << 20), mebibytes)
        << name;
  }
}

// kv-variants.md 1.2: MiB of the published variants at batch 8, 2,047 positions and 4 bytes
TEST(ArchPublished, MlkvMemoryTable) {
  const std::pair<const char*, double> rows[] = {
      {"pythia-160m", 1151.4375},        {"pythia-160m-gqa-48", 383.8125},   {"pythia-160m-mlkv-48", 383.8125},
      {"pythia-160m-mqa-12", 95.953125}, {"pythia-160m-mlkv-12", 95.953125}, {"pythia-160m-mlkv-6", 47.9765625},
      {"pythia-160m-mlkv-4", 31.984375}, {"pythia-160m-mlkv-2", 15.9921875}, {"pythia-160m-mlkv-1", 7.99609375}};
  for (const auto& [name, mebibytes] : rows) {
    EXPECT_EQ(static_cast<double>(kv_bytes(published_architecture(named(name)), 8, 2047, 4)) / (1 << 20), mebibytes)
        << name;
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
      {{{"model_type", "mistral"}}, "family mistral (published llama)"},
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
