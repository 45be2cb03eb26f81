// The published models: what their shapes give against the numbers that were published.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "core/arch/family.h"
#include "core/arch/published.h"

namespace headscope {
namespace {

using testing::HasSubstr;

const PublishedModel& named(std::string_view name) {
  const PublishedModel* found = published_of_name(name);
  if (found == nullptr) throw std::out_of_range(std::string(name));
  return *found;
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
      {"distilgpt2", 81'912'576, 18'432, "MHA"},
      // 12 width^2 + 13 width a layer, the last norm and both embeddings; of the larger ones all but the embeddings was
      // published.
      {"pythia-14m", 6 * (12 * 128 * 128 + 13 * 128) + 2 * 128 + 2 * 50'304 * 128, 3072, "MHA"},
      {"pythia-31m", 6 * (12 * 256 * 256 + 13 * 256) + 2 * 256 + 2 * 50'304 * 256, 6144, "MHA"},
      {"pythia-1b", 805'736'448 + 2 * 50'304 * 2048, 131'072, "MHA"},
      {"pythia-1.4b", 1'208'602'624 + 2 * 50'304 * 2048, 196'608, "MHA"},
      {"pythia-2.8b", 2'517'652'480 + 2 * 50'304 * 2560, 327'680, "MHA"},
      {"pythia-6.9b", 6'444'163'072 + 2 * 50'432 * 4096, 524'288, "MHA"},
      {"pythia-12b", 11'327'027'200 + 2 * 50'688 * 5120, 737'280, "MHA"},
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
      {"santacoder", 1'124'886'528, 12'288, "MQA"},
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
      {"Mistral-7B-v0.2", 7'241'732'096, 131'072, "GQA-8"},
      {"Qwen1.5-0.5B", 463'987'712, 98'304, "MHA"},
      {"Qwen1.5-1.8B", 1'836'828'672, 196'608, "MHA"},
      {"Qwen1.5-4B", 3'950'369'280, 409'600, "MHA"},
      {"Qwen1.5-7B", 7'721'324'544, 524'288, "MHA"},
      {"Qwen1.5-14B", 14'167'290'880, 819'200, "MHA"},
      {"Qwen1.5-32B", 32'512'218'112, 262'144, "GQA-8"},
      {"Qwen1.5-72B", 72'287'920'128, 2'621'440, "MHA"},
      {"Qwen1.5-110B", 111'209'914'368, 327'680, "GQA-8"},
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
  std::set<std::string_view> checked;
  for (const auto& [name, parameters, bytes, variant] : sources) {
    checked.insert(named(name).name());
    EXPECT_EQ(named(name).parameters, parameters) << name;
    EXPECT_EQ(named(name).kv_elements * 2, bytes) << name;
    EXPECT_EQ(variant_name(published_architecture(named(name))), variant) << name;
  }
  for (const PublishedModel& model : published_models()) EXPECT_TRUE(checked.contains(model.name())) << model.name();
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

}  // namespace
}  // namespace headscope
