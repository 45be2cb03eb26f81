// The same model with its cache shared otherwise: sizes against published and hand-computed numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "core/arch/footprint.h"
#include "core/arch/published.h"
#include "core/arch/what_if.h"
#include "core/base/error.h"
#include "tests/unit/arch_support.h"

namespace headscope {
namespace {

using arch_test::error_of;
using arch_test::set_window;
using arch_test::uniform;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t mib = 1 << 20;

Architecture published(std::string_view name) {
  const PublishedModel* found = published_of_name(name);
  if (found == nullptr) throw std::out_of_range(std::string(name));
  return published_architecture(*found);
}

Architecture as(const Architecture& a, const char* scheme) { return what_if(a, parse_scheme(scheme)); }

int64_t per_token(const Architecture& a, const char* scheme) { return kv_bytes_per_token(as(a, scheme), 2); }

std::string usage_error(const char* scheme) {
  try {
    parse_scheme(scheme);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

// kv-variants.md 1.1: the eight variants are what-ifs of Pythia-160M, whatever their widths inside the MLP.
TEST(ArchWhatIf, PythiaBecomesItsEightVariants) {
  const std::pair<const char*, const char*> variants[] = {
      {"gqa-4", "pythia-160m-gqa-48"},     {"mlkv-4x12", "pythia-160m-mlkv-48"}, {"mqa", "pythia-160m-mqa-12"},
      {"mlkv-4x3", "pythia-160m-mlkv-12"}, {"mlkv-6x1", "pythia-160m-mlkv-6"},   {"mlkv-4x1", "pythia-160m-mlkv-4"},
      {"mlkv-2x1", "pythia-160m-mlkv-2"},  {"mlkv-1x1", "pythia-160m-mlkv-1"}};
  const Architecture base = published("pythia-160m");
  for (const auto& [scheme, name] : variants) {
    const Architecture found = as(base, scheme), real = published(name);
    EXPECT_TRUE(same_cache(found, real)) << name;
    EXPECT_FALSE(same_cache(found, base)) << name;
    EXPECT_EQ(variant_name(found), variant_name(real)) << name;
    EXPECT_EQ(kv_bytes(found, 8, 2047, 4), kv_bytes(real, 8, 2047, 4)) << name;
  }
}

// kv-variants.md 1.1: what the variants lose before their MLP is widened: (144 - m g) x (2 x 768 x 64 + 2 x 64).
TEST(ArchWhatIf, ParametersLoseTheProjections) {
  const Architecture base = published("pythia-160m");
  const auto lost = [](int64_t kv_heads) { return (144 - kv_heads) * (2 * 768 * 64 + 2 * 64); };
  EXPECT_EQ(parameters_of(as(base, "mha")), 162'322'944);
  EXPECT_EQ(parameters_of(as(base, "gqa-4")), 162'322'944 - lost(48));
  EXPECT_EQ(parameters_of(as(base, "mlkv-4x3")), 162'322'944 - lost(12));
  EXPECT_EQ(parameters_of(as(base, "mlkv-1x1")), 162'322'944 - lost(1));
}

// kv-variants.md 0: 4.5 GiB to 48 MiB at 1,024 tokens; GQA with 8 groups would be 384 MiB.
TEST(ArchWhatIf, Gpt3Anchors) {
  const Architecture gpt3 = published("GPT-3");
  EXPECT_EQ(kv_bytes(gpt3, 1, 1024, 2), 4608 * mib);
  EXPECT_EQ(kv_bytes(as(gpt3, "mqa"), 1, 1024, 2), 48 * mib);
  EXPECT_EQ(kv_bytes(as(gpt3, "gqa-8"), 1, 1024, 2), 384 * mib);
}

// kv-variants.md 0, at 100,000 tokens: 399.8 GB and 3.12 GB are both counterfactual, 7.03 GB is real.
TEST(ArchWhatIf, DeepSeekAnchors) {
  const Architecture v3 = published("DeepSeek-V3");
  EXPECT_EQ(kv_bytes(v3, 1, 100'000, 2), 7'027'200'000);
  EXPECT_EQ(kv_bytes(as(v3, "mha"), 1, 100'000, 2), 399'769'600'000);
  EXPECT_EQ(kv_bytes(as(v3, "mqa"), 1, 100'000, 2), 3'123'200'000);
  EXPECT_EQ(variant_name(as(v3, "mha")), "MHA");
  EXPECT_TRUE(same_cache(as(v3, "mla"), v3));
  EXPECT_EQ(variant_name(as(v3, "cla-2")), "CLA-2 MLA");
  EXPECT_EQ(per_token(v3, "cla-2"), 31 * 576 * 2);
  EXPECT_EQ(per_token(v3, "sharedkv"), 61 * 128 * 128 * 2);  // one of the two that MHA would have
}

// 4 x head_dim + head_dim / 2, once for all heads: of 64 dimensions 288, of 128 the 576 of DeepSeek.
TEST(ArchWhatIf, LatentsFollowTheHeadSize) {
  EXPECT_EQ(per_token(published("gpt2"), "mla"), 12 * 288 * 2);
  EXPECT_EQ(per_token(published("Llama-3-8B"), "mla"), 32 * 576 * 2);
  const Architecture llama = as(published("Llama-3-8B"), "mla");
  EXPECT_EQ(kv_equation(llama, 2),
            "36,864 B per token = 32 layers x (512 latent + 64 rope key) x 2 B; one latent row serves all heads as key "
            "and value");
  EXPECT_EQ(llama.rope_of(0).dims, 64);
}

TEST(ArchWhatIf, OneStoreIsHalfAndNamesWhatItMakes) {
  const Architecture llama = published("Llama-3-8B");
  EXPECT_EQ(per_token(llama, "sharedkv"), 131'072 / 2);
  EXPECT_EQ(per_token(llama, "sharedkv-gqa-2"), 131'072 / 8);
  EXPECT_EQ(per_token(llama, "sharedkv-cla-2-mqa"), 131'072 / 32);
  EXPECT_EQ(variant_name(as(llama, "sharedkv")), "SharedKV GQA-8");
  EXPECT_EQ(variant_name(as(llama, "SharedKV-CLA-2-MQA")), "SharedKV CLA-2 MQA");
  EXPECT_EQ(kv_equation(as(published("gpt2"), "sharedkv-mqa"), 2),
            "1,536 B per token = 12 layers x 1 KV head x 64 x 2 B; only values are stored, and they are the keys, too");
  EXPECT_EQ(per_token(published("gpt2"), "slim"), 36'864 / 2);
  EXPECT_EQ(variant_name(as(published("gpt2"), "slim")), "Slim MHA");
}

// Hunyuan-Large (kv-variants.md 3.8, 4): 64 layers, 80 query heads, 8 KV heads of 80, CLA-2 halves 163,840.
TEST(ArchWhatIf, ClaKeepsTheHeads) {
  const Architecture plain = uniform(64, 80, 8, 80);
  EXPECT_EQ(kv_bytes_per_token(plain, 2), 163'840);
  EXPECT_EQ(per_token(plain, "cla-2"), 81'920);
  EXPECT_EQ(variant_name(as(plain, "cla-2")), "CLA-2 GQA-8");
  EXPECT_EQ(as(uniform(5, 4, 2, 8), "cla-2").kv_stores.size(), 3u);  // ceil(5 / 2)
}

// CLA's table (kv-variants.md 3.8): 20 layers, 16 heads of 128.
TEST(ArchWhatIf, ClaTable) {
  const Architecture mha = uniform(20, 16, 16, 128);
  const std::pair<const char*, int64_t> rows[] = {
      {"mha", 163'840},        {"gqa-4", 40'960},       {"gqa-2", 20'480},    {"mqa", 10'240},     {"cla-2-mqa", 5'120},
      {"cla-2-gqa-4", 20'480}, {"gqa-2-cla-2", 10'240}, {"cla-3-mqa", 3'584}, {"cla-4-mqa", 2'560}};
  for (const auto& [scheme, bytes] : rows) EXPECT_EQ(per_token(mha, scheme), bytes) << scheme;
}

TEST(ArchWhatIf, WindowsStay) {
  const Architecture gemma = published("gemma-3-1b");  // 22 local layers of 512, 4 full, one KV head of 256
  EXPECT_EQ(kv_bytes(as(gemma, "mha"), 1, 8192, 2), 4 * 43 * mib);
  EXPECT_EQ(variant_name(as(gemma, "mha")), "MHA, window 512 in 22 of 26 layers");
  // Two neighbours share: a full layer (5, 11, 17, 23) reads what the local one below it keeps, which must be all.
  EXPECT_EQ(kv_bytes(as(gemma, "cla-2"), 1, 8192, 2), (4 * 8192 + 9 * 512) * int64_t{1024});
  Architecture mixed = uniform(4, 4, 4, 8);
  set_window(mixed, 16, [](int64_t i) { return i < 2; });
  set_window(mixed, 32, [](int64_t i) { return i == 3; });
  EXPECT_EQ(as(mixed, "mlkv-1x1").kv_stores.at(0).window, 0);
  set_window(mixed, 32, [](int64_t i) { return i == 2; });
  set_window(mixed, 24, [](int64_t i) { return i == 3; });
  EXPECT_EQ(as(mixed, "mlkv-1x1").kv_stores.at(0).window, 32);
}

TEST(ArchWhatIf, WhatIsNotNamedStays) {
  const Architecture mlkv = published("pythia-160m-mlkv-12");
  EXPECT_EQ(variant_name(as(mlkv, "sharedkv")), "SharedKV MLKV 4x3");
  EXPECT_EQ(variant_name(as(mlkv, "cla-2")), "CLA-2 GQA-3");
  EXPECT_TRUE(same_cache(as(mlkv, "mha"), published("pythia-160m")));
  EXPECT_TRUE(same_cache(as(as(mlkv, "sharedkv"), "gqa-3"), as(mlkv, "gqa-3")));
}

TEST(ArchWhatIf, UsualSchemesFitTheModel) {
  const auto names = [](const char* model) {
    std::vector<std::string> out;
    for (const Scheme& scheme : usual_schemes(published(model))) out.push_back(scheme.name);
    return out;
  };
  EXPECT_THAT(names("gpt2"), ElementsAre("GQA-6", "MQA", "MLKV 4x3", "CLA-2", "SharedKV", "MLA"));
  EXPECT_THAT(names("Llama-3-8B"), ElementsAre("MHA", "MQA", "MLKV 10x8", "CLA-2", "SharedKV", "MLA"));
  EXPECT_THAT(names("falcon-7b"), ElementsAre("MHA", "MLKV 10x1", "CLA-2", "SharedKV", "MLA"));  // 71 is prime
  EXPECT_THAT(names("DeepSeek-V3"), ElementsAre("MHA", "GQA-8", "MQA", "MLKV 20x32", "CLA-2", "SharedKV"));
}

TEST(ArchWhatIf, EveryPublishedModelHasThemAll) {
  for (const PublishedModel& model : published_models()) {
    const Architecture a = published_architecture(model);
    if (model.parameters < 200'000'000'000) {  // those of many experts take long
      EXPECT_EQ(parameters_of(as(a, "mla-cla-2")) > 0, true) << model.name();
    }
    for (const Scheme& scheme : usual_schemes(a)) {
      const Architecture other = what_if(a, scheme);  // validate() accepts it
      EXPECT_EQ(other.layer_count(), a.layer_count());
      EXPECT_GT(kv_bytes_per_token(other, 2), 0);
    }
  }
}

TEST(ArchWhatIf, SchemesThatAreNone) {
  EXPECT_THAT(usage_error("gqa"), HasSubstr("a number is missing"));
  EXPECT_THAT(usage_error(""), HasSubstr("expected mha"));
  EXPECT_THAT(usage_error("mqa-"), HasSubstr("expected mha"));
  EXPECT_THAT(usage_error("gqa-0"), HasSubstr("is not a number from 1"));
  EXPECT_THAT(usage_error("gqa-8x"), HasSubstr("is not a number from 1"));
  EXPECT_THAT(usage_error("cla-99999999999999999999"), HasSubstr("is not a number from 1"));
  EXPECT_THAT(usage_error("mlkv-4"), HasSubstr("mlkv-4x3"));
  EXPECT_THAT(usage_error("mha-mqa"), HasSubstr("names the KV heads twice"));
  EXPECT_THAT(usage_error("mqa-mlkv-4x3"), HasSubstr("names the KV heads twice"));
  EXPECT_THAT(usage_error("mlkv-4x3-gqa-2"), HasSubstr("names the KV heads twice"));
  EXPECT_THAT(usage_error("cla-2-mlkv-4x3"), HasSubstr("names the owning layers twice"));
  EXPECT_THAT(usage_error("sharedkv-mla"), HasSubstr("names what is stored twice"));
  EXPECT_THAT(usage_error("mla-mqa"), HasSubstr("one latent serves all heads"));
  EXPECT_THAT(usage_error("slim-gqa-2"), HasSubstr("every head has its own"));
  EXPECT_THAT(usage_error("yoco"), HasSubstr("\"yoco\" is no way to share"));
}

TEST(ArchWhatIf, SchemesThatDoNotFit) {
  const Architecture a = uniform(4, 12, 12, 64);
  EXPECT_THAT(error_of([&] { as(a, "gqa-5"); }), HasSubstr("5 KV heads do not divide the 12 query heads"));
  EXPECT_THAT(error_of([&] { as(a, "cla-5"); }), HasSubstr("the model has 4 layers"));
  EXPECT_THAT(error_of([&] { as(a, "mlkv-5x1"); }), HasSubstr("the model has 4 layers"));
  EXPECT_THAT(error_of([&] { as(published("gemma-7b"), "slim"); }), HasSubstr("4096 x 3072 and not square"));
  EXPECT_THAT(error_of([&] { as(published("Qwen3-0.6B"), "slim"); }), HasSubstr("the model normalises"));
  Architecture unlike = uniform(4, 8, 2, 64);
  for (KvStore& store : unlike.kv_stores) store.value_dim = 32;
  EXPECT_THAT(error_of([&] { as(unlike, "sharedkv"); }), HasSubstr("keys of 64 and values of 32"));
  EXPECT_THAT(error_of([&] { as(uniform(2, 4, 2, 2), "mla"); }), HasSubstr("its rope key would have 0"));
}

/// Any owners, heads, windows and stores that validate() accepts.
Architecture random_architecture(std::mt19937_64& random) {
  const auto pick = [&](std::initializer_list<int64_t> list) { return list.begin()[random() % list.size()]; };
  const int64_t layers = pick({1, 2, 5, 12}), heads = pick({1, 4, 6, 12}), dim = pick({2, 4, 8, 64});
  std::vector<int64_t> owners{0};
  for (int64_t i = 1; i < layers; ++i) {
    if (random() % 3 > 0) owners.push_back(i);
  }
  Architecture a = uniform(layers, heads, heads % 2 == 0 ? pick({1, 2, heads}) : 1, dim, owners);
  if (random() % 2 == 0) set_window(a, 16, [&](int64_t) { return true; });
  for (KvStore& store : a.kv_stores) {
    if (random() % 3 > 0) continue;
    store.stored = random() % 2 == 0 ? Stored::values_only : Stored::keys_only;
    store.keys_rotated = false;
  }
  if (random() % 4 == 0) a.position.scheme = PositionScheme::none;
  for (KvStore& store : a.kv_stores) store.keys_rotated &= a.position.scheme == PositionScheme::rope;
  for (Layer& layer : a.layers) layer.rotate_query = a.position.scheme == PositionScheme::rope;
  validate(a);
  return a;
}

TEST(ArchWhatIf, AnyModelFitsOrIsRefusedByName) {
  std::mt19937_64 random(3);
  const char* schemes[] = {"mha",      "gqa-2", "mqa",          "mlkv-2x1", "cla-2",    "cla-3-mqa",
                           "sharedkv", "slim",  "sharedkv-mha", "mla",      "mla-cla-2"};
  size_t fitted = 0, refused = 0;
  for (int i = 0; i < 300; ++i) {
    const Architecture a = random_architecture(random);
    for (const char* scheme : schemes) {
      try {
        const Architecture other = as(a, scheme);  // validate() has accepted it
        EXPECT_LE(other.kv_stores.size(), a.layers.size());
        EXPECT_GT(parameters_of(other), 0);
        EXPECT_TRUE(same_cache(as(other, scheme), other)) << scheme << " twice";
        ++fitted;
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("does not fit")) << scheme;
        ++refused;
      }
    }
    for (const Scheme& scheme : usual_schemes(a)) EXPECT_FALSE(same_cache(a, what_if(a, scheme)));
  }
  EXPECT_GT(fitted, 2000u);
  EXPECT_GT(refused, 100u);
}

// By hand: gpt2 2 x 768 + 50,257; Llama-3-8B 2 x 4096 + 128,256; DeepSeek V3's attention 128 x (576 + 512).
TEST(ArchFootprint, ScratchIsTheWidestMoment) {
  EXPECT_EQ(decode_scratch(published("gpt2")).elements, 51'793);
  EXPECT_EQ(decode_scratch(published("gpt2")).equation, "2 x 768 residual and norm + 50,257 logits");
  EXPECT_EQ(decode_scratch(published("Llama-3-8B")).elements, 136'448);
  EXPECT_EQ(decode_scratch(published("DeepSeek-V3")).elements, 2 * 7168 + 139'264);
  EXPECT_THAT(decode_scratch(published("DeepSeek-V3")).equation, HasSubstr("139,264 in attention"));
  Architecture wide = uniform(2, 4, 4, 8);
  Mlp& mlp = wide.layers[1].mlp;
  mlp.gated = true;
  mlp.width = 500;
  mlp.experts = 8;
  mlp.experts_active = 2;
  mlp.shared_width = 100;
  EXPECT_EQ(decode_scratch(wide).elements, 2 * 32 + 2 * (2 * 500 + 100));
  EXPECT_THAT(decode_scratch(wide).equation, HasSubstr("in the MLP"));
}

TEST(ArchFootprint, ParametersAreThoseOfTheFamily) {
  EXPECT_EQ(parameters_of(published("gpt2")), 124'439'808);
  Architecture unknown = uniform(1, 1, 1, 8);
  EXPECT_THAT(error_of([&] { parameters_of(unknown); }), HasSubstr("there is no family \"test\""));
  EXPECT_THAT(error_of([] { checked_bytes(int64_t{1} << 62, 2, "the weights"); }), HasSubstr("the weights would be"));
}

// The names that a mistyped one may have meant.
TEST(ArchPublishedNames, NearOnesComeFirst) {
  EXPECT_THAT(published_names_like("gpt2-smal"), testing::Contains("gpt2-small"));
  EXPECT_EQ(published_names_like("lama-3-8b").front(), "Llama-3-8B");
  EXPECT_THAT(published_names_like("mlkv"), testing::Each(HasSubstr("mlkv")));
  EXPECT_THAT(published_names_like("EleutherAI/pythia-160n"), testing::Contains("pythia-160m"));
  EXPECT_THAT(published_names_like("mlkv", 2), testing::SizeIs(2));
  for (const std::string& other : {std::string(), std::string("x"), std::string("zzzzzzzz"), std::string(10000, 'g')}) {
    EXPECT_THAT(published_names_like(other), testing::IsEmpty()) << other.substr(0, 10);
  }
}

}  // namespace
}  // namespace headscope
