#include <gtest/gtest.h>

#include "tests/unit/arch_support.h"

namespace headscope {
namespace {

using arch_test::gpt2_config;
using arch_test::load;
using arch_test::set_window;
using arch_test::uniform;

std::string name(const Architecture& a) {
  validate(a);
  return variant_name(a);
}

/// Keys are rotated when they are read, as they must be where only one of the two is stored.
Architecture stored_as(Architecture a, Stored stored) {
  for (KvStore& store : a.kv_stores) {
    store.stored = stored;
    store.keys_rotated = false;
  }
  for (Layer& layer : a.layers) layer.rotate_on_read = true;
  return a;
}

/// The same without positions in the keys.
Architecture unrotated(Architecture a) {
  for (Layer& layer : a.layers) layer.rotate_on_read = layer.rotate_query = false;
  return a;
}

Architecture latents(int64_t layers, const std::vector<int64_t>& owners = {}) {
  Architecture a = uniform(layers, 16, 1, 576, owners);
  for (KvStore& store : a.kv_stores) {
    store.stored = Stored::latent;
    store.value_dim = 512;
  }
  for (Layer& layer : a.layers) layer.mla = Mla{.query_rank = 0, .content_dim = 128, .value_dim = 128};
  a.position.rope.dims = 64;
  return a;
}

TEST(ArchVariant, HeadsOfOneLayer) {
  EXPECT_EQ(name(load(gpt2_config())), "MHA");
  EXPECT_EQ(name(load(arch_test::llama_config())), "GQA-4");
  EXPECT_EQ(name(uniform(12, 12, 1, 64)), "MQA");
  EXPECT_EQ(name(uniform(12, 12, 12, 64)), "MHA");
  EXPECT_EQ(name(uniform(3, 1, 1, 64)), "MHA");  // one query head with its own KV head shares nothing
}

TEST(ArchVariant, TheEightModelsOfMlkv) {
  // kv-variants.md 1.1: 12 layers of 12 heads; where groups are pairs the name is CLA-2 (see variant_name).
  EXPECT_EQ(name(uniform(12, 12, 4, 64)), "GQA-4");
  EXPECT_EQ(name(uniform(12, 12, 12, 64, {0, 3, 6, 9})), "MLKV 4x12");
  EXPECT_EQ(name(uniform(12, 12, 1, 64)), "MQA");
  EXPECT_EQ(name(uniform(12, 12, 3, 64, {0, 3, 6, 9})), "MLKV 4x3");
  EXPECT_EQ(name(uniform(12, 12, 1, 64, {0, 2, 4, 6, 8, 10})), "CLA-2 MQA");
  EXPECT_EQ(name(uniform(12, 12, 1, 64, {0, 3, 6, 9})), "MLKV 4x1");
  EXPECT_EQ(name(uniform(12, 12, 1, 64, {0, 6})), "MLKV 2x1");
  EXPECT_EQ(name(uniform(12, 12, 1, 64, {0})), "MLKV 1x1");
}

TEST(ArchVariant, SharingAcrossLayers) {
  EXPECT_EQ(name(uniform(20, 16, 1, 128, {0, 2, 4, 6, 8, 10, 12, 14, 16, 18})), "CLA-2 MQA");
  EXPECT_EQ(name(uniform(20, 16, 4, 128, {0, 2, 4, 6, 8, 10, 12, 14, 16, 18})), "CLA-2 GQA-4");
  EXPECT_EQ(name(uniform(5, 16, 16, 128, {0, 2, 4})), "CLA-2 MHA");
  EXPECT_EQ(name(uniform(20, 16, 1, 128, {0, 3, 6, 9, 12, 15, 18})), "CLA-3 MQA");  // 3 does not divide 20
  EXPECT_EQ(name(uniform(12, 12, 3, 64, {0, 2, 4, 7, 9})), "MLKV 5x3");             // MLKV's spacing of 5 over 12
  EXPECT_EQ(name(uniform(12, 12, 2, 64, {0, 1, 2, 3})), "GQA-2, 4 of 12 layers own KV");
  Architecture tail = uniform(6, 8, 2, 256, {0, 1, 2, 3});
  tail.layers[4].kv_owner = 2;  // Gemma-3n: the last owner of the same type, not the nearest
  EXPECT_EQ(name(tail), "GQA-2, 4 of 6 layers own KV");
}

TEST(ArchVariant, WhatIsStored) {
  EXPECT_EQ(name(stored_as(uniform(8, 16, 4, 128), Stored::values_only)), "SharedKV GQA-4");
  EXPECT_EQ(name(stored_as(uniform(8, 16, 16, 128), Stored::values_only)), "SharedKV MHA");
  EXPECT_EQ(name(stored_as(uniform(12, 12, 12, 64), Stored::keys_only)), "Slim MHA");
  EXPECT_EQ(name(stored_as(uniform(12, 12, 3, 64, {0, 3, 6, 9}), Stored::values_only)), "SharedKV MLKV 4x3");
  EXPECT_EQ(name(stored_as(uniform(8, 16, 1, 128, {0, 2, 4, 6}), Stored::values_only)), "SharedKV CLA-2 MQA");
}

TEST(ArchVariant, ValuesThatAreTheKeysAsTheyStand) {
  EXPECT_EQ(name(unrotated(stored_as(uniform(8, 16, 16, 128), Stored::values_only))), "K=V MHA");
  EXPECT_EQ(name(unrotated(stored_as(uniform(8, 16, 2, 128), Stored::values_only))), "K=V GQA-2");
  EXPECT_EQ(name(unrotated(stored_as(uniform(8, 16, 1, 128, {0, 2, 4, 6}), Stored::values_only))), "K=V CLA-2 MQA");
  EXPECT_EQ(name(unrotated(stored_as(uniform(12, 12, 3, 64, {0, 3, 6, 9}), Stored::values_only))), "K=V MLKV 4x3");
  Architecture learned = unrotated(stored_as(uniform(8, 16, 1, 128), Stored::values_only));
  learned.position = {};
  learned.position.scheme = PositionScheme::learned;
  EXPECT_EQ(name(learned), "K=V MQA");
  // One reader that rotates makes SharedKV of a store; layers of both kinds are no one MLKV.
  Architecture both = unrotated(stored_as(uniform(6, 12, 3, 64, {0, 3}), Stored::values_only));
  both.layers[4].rotate_on_read = true;
  EXPECT_EQ(name(both), "K=V CLA-3 GQA-3 + SharedKV CLA-3 GQA-3");
  EXPECT_EQ(name(unrotated(stored_as(uniform(12, 12, 12, 64), Stored::keys_only))), "Slim MHA");
}

TEST(ArchVariant, LatentsThatLayersShare) {
  EXPECT_EQ(name(latents(27)), "MLA");
  EXPECT_EQ(name(latents(12, {0, 6})), "MLKV 2 on MLA");
  EXPECT_EQ(name(latents(12, {0})), "MLKV 1 on MLA");
  EXPECT_EQ(name(latents(12, {0, 2, 4, 6, 8, 10})), "MLKV 6 on MLA");  // pairs, too
  EXPECT_EQ(name(latents(5, {0, 2})), "MLKV 2 on MLA");                // floor(5 / 2) = 2
  EXPECT_EQ(name(latents(5, {0, 3})), "CLA-3 MLA");                    // not MLKV's spacing
  EXPECT_EQ(name(latents(5, {0, 1})), "MLA, 2 of 5 layers own KV");
  Architecture windowed = latents(6, {0, 3});
  set_window(windowed, 256, [](int64_t i) { return i < 3; });
  EXPECT_EQ(name(windowed), "MLKV 2 on MLA, window 256 in 3 of 6 layers");
}

TEST(ArchVariant, Windows) {
  Architecture all = uniform(32, 32, 8, 128);
  set_window(all, 4096, [](int64_t) { return true; });
  EXPECT_EQ(name(all), "GQA-8, window 4096");
  Architecture alternating = uniform(26, 8, 4, 256);
  set_window(alternating, 4096, [](int64_t i) { return i % 2 == 0; });
  EXPECT_EQ(name(alternating), "GQA-4, window 4096 in 13 of 26 layers");
  set_window(alternating, 512, [](int64_t i) { return i == 1; });
  EXPECT_EQ(name(alternating), "GQA-4, windows 512 to 4096 in 14 of 26 layers");
}

TEST(ArchVariant, LayersThatDifferAreJoined) {
  Architecture a = uniform(4, 8, 2, 64);
  a.kv_stores[3].kv_heads = 1;
  EXPECT_EQ(name(a), "GQA-2 + MQA");
  a.kv_stores[1].stored = Stored::values_only;
  a.kv_stores[1].keys_rotated = false;
  a.layers[1].rotate_on_read = true;
  EXPECT_EQ(name(a), "GQA-2 + SharedKV GQA-2 + MQA");
}

}  // namespace
}  // namespace headscope
