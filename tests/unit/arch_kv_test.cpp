#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/arch_support.h"

namespace headscope {
namespace {

using arch_test::error_of;
using arch_test::gpt2_config;
using arch_test::load;
using arch_test::set_window;
using arch_test::uniform;
using arch_test::with;
using testing::HasSubstr;

constexpr int64_t kib = 1024, mib = kib * kib, gib = kib * mib;

// kv-variants.md 4, bytes per token at 16 bit.
TEST(ArchKvBytes, PerTokenTableOfPublishedModels) {
  EXPECT_EQ(kv_bytes_per_token(load(gpt2_config()), 2), 36864);
  EXPECT_EQ(kv_bytes_per_token(load(gpt2_config(1024, 16, 24)), 2), 98304);
  EXPECT_EQ(kv_bytes_per_token(load(arch_test::llama_3_2_1b_config()), 2), 32768);
  EXPECT_EQ(kv_bytes_per_token(load(arch_test::smollm2_135m_config()), 2), 23040);
  EXPECT_EQ(kv_bytes_per_token(load(arch_test::tinyllama_1_1b_config()), 2), 22528);
  const Json llama_2_7b = with(arch_test::llama_config(), {{"hidden_size", 4096},
                                                           {"intermediate_size", 11008},
                                                           {"num_hidden_layers", 32},
                                                           {"num_attention_heads", 32},
                                                           {"num_key_value_heads", 32},
                                                           {"head_dim", nullptr},
                                                           {"vocab_size", 32000}});
  EXPECT_EQ(kv_bytes_per_token(load(llama_2_7b), 2), 524288);
  const Json llama_3_8b = with(llama_2_7b, {{"num_key_value_heads", 8}, {"vocab_size", 128256}});
  EXPECT_EQ(kv_bytes_per_token(load(llama_3_8b), 2), 131072);
  EXPECT_EQ(kv_bytes(load(llama_3_8b), 1, 1024, 2), 128 * mib);
  EXPECT_EQ(kv_bytes(load(gpt2_config()), 1, 1024, 2), 36 * mib);
  EXPECT_EQ(kv_bytes_per_token(load(arch_test::llama_config()), 4), 1280);  // stories260K
}

TEST(ArchKvBytes, Gpt3AnchorsOfTheSeedDocument) {
  const Architecture mha = uniform(96, 96, 96, 128);
  EXPECT_EQ(kv_bytes_per_token(mha, 2), 4718592);
  EXPECT_EQ(2 * kv_bytes(mha, 1, 1024, 2), 9 * gib);  // 4.5 GiB
  EXPECT_EQ(kv_bytes(uniform(96, 96, 1, 128), 1, 1024, 2), 48 * mib);
  EXPECT_EQ(kv_bytes(uniform(96, 96, 8, 128), 1, 1024, 2), 384 * mib);
  EXPECT_EQ(kv_bytes(mha, 1, 2048, 2), 9 * gib);
}

TEST(ArchKvBytes, DeepSeekAnchors) {
  EXPECT_EQ(kv_bytes_per_token(uniform(61, 128, 128, 128), 2), 3997696);
  EXPECT_EQ(kv_bytes_per_token(uniform(61, 128, 1, 128), 2), 31232);
  Architecture mla = uniform(61, 128, 1, 576);
  for (KvStore& store : mla.kv_stores) {
    store.stored = Stored::latent;
    store.value_dim = 512;
  }
  mla.position.rope.dims = 64;
  for (Layer& layer : mla.layers) layer.mla = Mla{.query_rank = 1536, .content_dim = 128, .value_dim = 128};
  validate(mla);
  EXPECT_EQ(kv_bytes_per_token(mla, 2), 70272);
  EXPECT_EQ(kv_equation(mla, 2),
            "70,272 B per token = 61 layers x (512 latent + 64 rope key) x 2 B; one latent row serves all heads as key "
            "and value");
}

TEST(ArchKvBytes, MlkvMemoryTable) {
  // kv-variants.md 1.2, MiB at batch 8 and 2047 positions in f32.
  struct Row {
    int64_t kv_heads;
    std::vector<int64_t> owners;
    double mib;
  };
  const std::vector<Row> rows = {{12, {}, 1151.4375},          {4, {}, 383.8125},
                                 {12, {0, 3, 6, 9}, 383.8125}, {1, {}, 95.953125},
                                 {3, {0, 3, 6, 9}, 95.953125}, {1, {0, 2, 4, 6, 8, 10}, 47.9765625},
                                 {1, {0, 3, 6, 9}, 31.984375}, {1, {0, 6}, 15.9921875},
                                 {1, {0}, 7.99609375}};
  for (const Row& row : rows) {
    const Architecture a = uniform(12, 12, row.kv_heads, 64, row.owners);
    EXPECT_EQ(static_cast<double>(kv_bytes(a, 8, 2047, 4)) / mib, row.mib) << variant_name(a);
  }
}

TEST(ArchKvBytes, WindowsStopAtTheirSize) {
  // gemma-2-2b, gemma-3-1b and gemma-3-270m at 16 bit (kv-variants.md 4).
  Architecture gemma2 = uniform(26, 8, 4, 256);
  set_window(gemma2, 4096, [](int64_t i) { return i % 2 == 0; });
  Architecture gemma3 = uniform(26, 4, 1, 256), gemma3_270m = uniform(18, 4, 1, 256);
  for (Architecture* a : {&gemma3, &gemma3_270m}) set_window(*a, 512, [](int64_t i) { return (i + 1) % 6 != 0; });
  EXPECT_EQ(kv_bytes_per_token(gemma2, 2), 106496);
  const std::vector<int64_t> tokens = {1024, 4096, 8192, 32768};
  const std::vector<double> expected2 = {104, 416, 624, 1872}, expected3 = {15, 27, 43, 139},
                            expected270 = {10.5, 19.5, 31.5, 103.5};
  for (size_t i = 0; i < tokens.size(); ++i) {
    EXPECT_EQ(static_cast<double>(kv_bytes(gemma2, 1, tokens[i], 2)) / mib, expected2[i]);
    EXPECT_EQ(static_cast<double>(kv_bytes(gemma3, 1, tokens[i], 2)) / mib, expected3[i]);
    EXPECT_EQ(static_cast<double>(kv_bytes(gemma3_270m, 1, tokens[i], 2)) / mib, expected270[i]);
  }
}

TEST(ArchKvBytes, OneStoreHalves) {
  Architecture shared = uniform(8, 16, 4, 128);
  const int64_t both = kv_bytes_per_token(shared, 2);
  for (const Stored stored : {Stored::values_only, Stored::keys_only}) {
    for (KvStore& store : shared.kv_stores) store.stored = stored;
    EXPECT_EQ(2 * kv_bytes_per_token(shared, 2), both);
  }
}

TEST(ArchKvBytes, EdgesAndSizesThatDoNotFit) {
  const Architecture a = uniform(2, 4, 2, 8);
  EXPECT_EQ(kv_bytes(a, 0, 100, 2), 0);
  EXPECT_EQ(kv_bytes(a, 3, 0, 2), 0);
  EXPECT_THAT(error_of([&] { kv_bytes(a, -1, 5, 2); }), HasSubstr("got -1, 5 and 2"));
  EXPECT_THAT(error_of([&] { kv_bytes(a, 1, 1, 0); }), HasSubstr("got 1, 1 and 0"));
  const int64_t huge = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(error_of([&] { kv_bytes(a, huge, 1, 1); }), HasSubstr("larger than 2^63"));
  EXPECT_THAT(error_of([&] { kv_bytes(a, 1, huge / 40, 1); }), HasSubstr("larger than 2^63"));
}

TEST(ArchKvEquation, AlikeLayers) {
  EXPECT_EQ(kv_equation(load(arch_test::llama_config()), 4), "1,280 B per token = 2 x 5 layers x 4 KV heads x 8 x 4 B");
  EXPECT_EQ(kv_equation(uniform(12, 12, 1, 64, {0}), 2), "256 B per token = 2 x 1 owning layer x 1 KV head x 64 x 2 B");
  EXPECT_EQ(kv_equation(uniform(12, 12, 3, 64, {0, 3, 6, 9}), 2),
            "3,072 B per token = 2 x 4 owning layers x 3 KV heads x 64 x 2 B");
  EXPECT_EQ(kv_equation(uniform(96, 96, 96, 128), 2),
            "4,718,592 B per token = 2 x 96 layers x 96 KV heads x 128 x 2 B");
}

TEST(ArchKvEquation, UnlikeDimensionsAndUnlikeLayersAreSums) {
  Architecture a = uniform(4, 8, 2, 64);
  for (KvStore& store : a.kv_stores) store.value_dim = 32;
  EXPECT_EQ(kv_equation(a, 2), "1,536 B per token = 4 layers x 2 KV heads x (64 key + 32 value) x 2 B");
  a = uniform(4, 8, 2, 64);
  a.kv_stores[3].kv_heads = 1;
  EXPECT_EQ(kv_equation(a, 2),
            "1,792 B per token = 2 x 3 layers x 2 KV heads x 64 x 2 B + 2 x 1 layer x 1 KV head x 64 x 2 B");
}

TEST(ArchKvEquation, OneStoreSaysWhyThereIsNoFactorTwo) {
  Architecture a = uniform(8, 16, 4, 128);
  for (KvStore& store : a.kv_stores) store.stored = Stored::values_only;
  EXPECT_EQ(kv_equation(a, 2),
            "8,192 B per token = 8 layers x 4 KV heads x 128 x 2 B; only values are stored, and they are the keys, too");
  for (Layer& layer : a.layers) layer.rotate_on_read = true;
  EXPECT_EQ(kv_equation(a, 2),
            "8,192 B per token = 8 layers x 4 KV heads x 128 x 2 B; only values are stored, keys are rotated from them "
            "when read");
  for (KvStore& store : a.kv_stores) store.stored = Stored::keys_only;
  EXPECT_EQ(
      kv_equation(a, 2),
      "8,192 B per token = 8 layers x 4 KV heads x 128 x 2 B; only keys are stored, values are rebuilt from them");
}

TEST(ArchKvEquation, WindowsAreMentioned) {
  Architecture a = uniform(26, 4, 1, 256);
  set_window(a, 512, [](int64_t i) { return (i + 1) % 6 != 0; });
  EXPECT_EQ(kv_equation(a, 2),
            "26,624 B per token = 2 x 26 layers x 1 KV head x 256 x 2 B; 22 of them stop at 512 tokens");
  set_window(a, 4096, [](int64_t) { return true; });
  EXPECT_THAT(kv_equation(a, 2), HasSubstr("; all of them stop at 4,096 tokens"));
}

TEST(ArchKvEquation, TotalsPutInBatchAndTokens) {
  EXPECT_EQ(kv_total_equation(load(arch_test::llama_config()), 8, 5120, 4),
            "52,428,800 B = 8 sequences x 1,280 B a token x 5,120 tokens");
  Architecture a = uniform(26, 4, 1, 256);
  set_window(a, 512, [](int64_t i) { return (i + 1) % 6 != 0; });
  EXPECT_EQ(kv_total_equation(a, 1, 8192, 2),
            "45,088,768 B = 1 sequence x (22,528 B a token x 512 tokens of a window + 4,096 B a token x 8,192 tokens)");
  EXPECT_EQ(kv_total_equation(a, 1, 100, 2), "2,662,400 B = 1 sequence x 26,624 B a token x 100 tokens");
}

}  // namespace
}  // namespace headscope
