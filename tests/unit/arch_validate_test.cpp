#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "core/arch/alibi.h"
#include "tests/unit/arch_support.h"

namespace headscope {
namespace {

using arch_test::error_of;
using arch_test::uniform;
using testing::AllOf;
using testing::HasSubstr;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

struct Refusal {
  const char* field;  ///< words that the message must hold
  std::function<void(Architecture&)> change;
};

void expect_refused(const std::vector<Refusal>& refusals) {
  for (const Refusal& refusal : refusals) {
    Architecture a = uniform(6, 8, 4, 16, {0, 2, 4});
    ASSERT_NO_THROW(validate(a));
    refusal.change(a);
    SCOPED_TRACE(refusal.field);
    EXPECT_THAT(error_of([&] { validate(a); }), HasSubstr(refusal.field));
  }
}

TEST(ArchValidate, SizesOutsideTheLimits) {
  expect_refused({
      {"layers must be from 1 to 1024, but is 0", [](auto& a) { a.layers.clear(); }},
      {"layers must be", [](auto& a) { a.layers.resize(1025); }},
      {"d_model", [](auto& a) { a.d_model = 0; }},
      {"d_model", [](auto& a) { a.d_model = limits::d_model + 1; }},
      {"vocab_size", [](auto& a) { a.vocab_size = -1; }},
      {"vocab_size", [](auto& a) { a.vocab_size = limits::vocab + 1; }},
      {"context", [](auto& a) { a.context = limits::context + 1; }},
      {"layers[3].q_heads", [](auto& a) { a.layers[3].q_heads = limits::heads + 4; }},
      {"kv_stores[1].kv_heads", [](auto& a) { a.kv_stores[1].kv_heads = 0; }},
      {"kv_stores[1].key_dim", [](auto& a) { a.kv_stores[1].key_dim = limits::head_dim + 1; }},
      {"kv_stores[1].value_dim", [](auto& a) { a.kv_stores[1].value_dim = 0; }},
      {"kv_stores[1].window", [](auto& a) { a.kv_stores[1].window = -1; }},
      {"layers[0].q_heads * key_dim",
       [](auto& a) {
         a.layers[0].q_heads = limits::heads;
         a.kv_stores[0].key_dim = limits::head_dim;
       }},
      {"layers[0].q_heads * value_dim",
       [](auto& a) {
         a.layers[0].q_heads = limits::heads;
         a.kv_stores[0].value_dim = limits::head_dim;
       }},
      {"layers[5].mlp.width", [](auto& a) { a.layers[5].mlp.width = 0; }},
      {"layers[5].mlp.experts", [](auto& a) { a.layers[5].mlp.experts = 0; }},
      {"layers[5].mlp.experts_active", [](auto& a) { a.layers[5].mlp.experts_active = 2; }},
      {"layers[1].window", [](auto& a) { a.layers[1].window = -4; }},
      {"position.learned_offset", [](auto& a) { a.position.learned_offset = -1; }},
      {"bos_id", [](auto& a) { a.bos_id = 100; }},
      {"eos_ids",
       [](auto& a) {
         a.eos_ids = {5, -1};
       }},
  });
}

TEST(ArchValidate, NumbersThatMakeNoSense) {
  expect_refused({
      {"norm_epsilon", [](auto& a) { a.norm_epsilon = 0; }},
      {"norm_epsilon", [](auto& a) { a.norm_epsilon = nan; }},
      {"embedding_scale", [](auto& a) { a.embedding_scale = infinity; }},
      {"logits_soft_cap", [](auto& a) { a.logits_soft_cap = -30; }},
      {"layers[2].scale", [](auto& a) { a.layers[2].scale = nan; }},
      {"layers[2].soft_cap", [](auto& a) { a.layers[2].soft_cap = nan; }},
      {"position.rope.base", [](auto& a) { a.position.rope.base = 0.5; }},
      {"position.rope.base", [](auto& a) { a.position.rope.base = infinity; }},
      {"position.rope.dims must be even", [](auto& a) { a.position.rope.dims = 15; }},
      {"position.rope.dims must be from 2", [](auto& a) { a.position.rope.dims = 0; }},
      {"position.rope.dims (18) must not be above the key_dim of its keys", [](auto& a) { a.position.rope.dims = 18; }},
      {"layers[1].rope.dims (18) must not be above the key_dim of its keys",
       [](auto& a) {
         a.layers[1].rope = a.position.rope;
         a.layers[1].rope->dims = 18;
       }},
      {"position.rope.scaling.factor", [](auto& a) { a.position.rope.scaling.factor = 0; }},
      {"position.rope.scaling.original_context",
       [](auto& a) { a.position.rope.scaling.kind = RopeScaling::Kind::llama3; }},
      {"position.rope.scaling.original_context",
       [](auto& a) { a.position.rope.scaling.kind = RopeScaling::Kind::dynamic; }},
      {"position.rope.dims must be above 2 with dynamic scaling",
       [](auto& a) {
         a.position.rope.scaling = {.kind = RopeScaling::Kind::dynamic, .factor = 2, .original_context = 8};
         a.position.rope.dims = 2;
       }},
      {"position.rope.scaling.high_freq_factor",
       [](auto& a) {
         a.position.rope.scaling.kind = RopeScaling::Kind::llama3;
         a.position.rope.scaling.high_freq_factor = 1;
       }},
  });
}

TEST(ArchValidate, OwnersAndReaders) {
  expect_refused({
      {"layers[1].kv_owner is 2, a later layer", [](auto& a) { a.layers[1].kv_owner = 2; }},
      {"layers[3].kv_owner is 1, which owns no cache", [](auto& a) { a.layers[3].kv_owner = 1; }},
      {"layers[1].kv_owner must be from 0 to 5", [](auto& a) { a.layers[1].kv_owner = 6; }},
      {"layers[1].kv_owner must be from 0 to 5", [](auto& a) { a.layers[1].kv_owner = -1; }},
      {"kv_stores must have one entry for each of the 3 owning layers, but has 2",
       [](auto& a) { a.kv_stores.pop_back(); }},
      {"kv_stores[0].layer must be 0", [](auto& a) { std::swap(a.kv_stores[0], a.kv_stores[1]); }},
      {"layers[0].q_heads is 8, which the 3 KV heads", [](auto& a) { a.kv_stores[0].kv_heads = 3; }},
      {"layers[0].q_heads is 8, which the 16 KV heads", [](auto& a) { a.kv_stores[0].kv_heads = 16; }},
      {"layers[5].q_heads is 6, which the 4 KV heads of layer 4", [](auto& a) { a.layers[5].q_heads = 6; }},
      {"layers[1].window is 64, but the cache of layer 0 keeps only 32",
       [](auto& a) {
         a.kv_stores[0].window = a.layers[0].window = 32;
         a.layers[1].window = 64;
       }},
      {"layers[1].window is 0, but the cache of layer 0 keeps only 32",
       [](auto& a) { a.kv_stores[0].window = a.layers[0].window = 32; }},
  });
}

KvStore latent_store() {
  return {.layer = 0, .kv_heads = 1, .key_dim = 36, .value_dim = 20, .stored = Stored::latent, .keys_rotated = true};
}

void use_mla(Architecture& a, const Mla& mla) {
  a.kv_stores[0] = latent_store();
  a.layers[0].mla = mla;
}

/// Eight experts in four groups of two, one of the groups open.
Mlp& use_experts(Architecture& a) {
  Mlp& mlp = a.layers[0].mlp;
  mlp.experts = 8;
  mlp.router.groups = 4;
  return mlp;
}

TEST(ArchValidate, FieldsThatContradictEachOther) {
  expect_refused({
      {"layers[0].rotate_on_read is true, but layer 0 stores rotated keys",
       [](auto& a) { a.layers[0].rotate_on_read = true; }},
      {"kv_stores[0].keys_rotated is true, but only values",
       [](auto& a) { a.kv_stores[0].stored = Stored::values_only; }},
      {"kv_stores[0].keys_rotated is true, but the position scheme",
       [](auto& a) { a.position.scheme = PositionScheme::none; }},
      {"layers[0].rotate_query is true, but the position scheme",
       [](auto& a) {
         a.position.scheme = PositionScheme::learned;
         for (KvStore& store : a.kv_stores) store.keys_rotated = false;
       }},
      {"kv_stores[0].keys_rotated is true, but values are made from the keys before rope",
       [](auto& a) { a.kv_stores[0].stored = Stored::keys_only; }},
      {"kv_stores[0].key_dim (16) must equal value_dim (8)",
       [](auto& a) {
         a.kv_stores[0].stored = Stored::keys_only;
         a.kv_stores[0].keys_rotated = false;
         a.kv_stores[0].value_dim = 8;
       }},
      {"kv_stores[0].kv_heads must be 1 for a latent", [](auto& a) { a.kv_stores[0].stored = Stored::latent; }},
      {"kv_stores[0].value_dim (20) must not be above key_dim",
       [](auto& a) {
         a.kv_stores[0].stored = Stored::latent;
         a.kv_stores[0].kv_heads = 1;
         a.kv_stores[0].value_dim = 20;
       }},
      {"layers[0].mla must be given when, and only when, the cache that the layer reads stores latents; that of layer "
       "0 does",
       [](auto& a) { a.kv_stores[0] = latent_store(); }},
      {"layers[0].mla must be given when, and only when",
       [](auto& a) { a.layers[0].mla = Mla{.query_rank = 0, .content_dim = 8, .value_dim = 8}; }},
      {"layers[0].mla.content_dim", [](auto& a) { use_mla(a, {.query_rank = 0, .content_dim = 0, .value_dim = 8}); }},
      {"layers[0].mla.value_dim", [](auto& a) { use_mla(a, {.query_rank = 0, .content_dim = 8, .value_dim = 0}); }},
      {"layers[0].qk_norm must be none",
       [](auto& a) {
         use_mla(a, {.query_rank = 0, .content_dim = 8, .value_dim = 8});
         a.layers[0].qk_norm = QkNorm::per_head;
       }},
      {"position.rope.dims (16) must not be above the width of the rope key (12)",
       [](auto& a) {
         use_mla(a, {.query_rank = 0, .content_dim = 8, .value_dim = 8});
         a.kv_stores[0].key_dim = 32;
       }},
      {"layers[0].mlp.bias is true, but experts", [](auto& a) { use_experts(a).bias = true; }},
      {"layers[0].mlp.router is given, but there is one expert", [](auto& a) { a.layers[0].mlp.router.scale = 3; }},
      {"position.alibi_bf16 is true, but", [](auto& a) { a.position.alibi_bf16 = true; }},
      {"position.alibi_scale is given, but", [](auto& a) { a.position.alibi_scale = 0.5; }},
      {"layers[0].mlp.shared_width is 4, but there is one expert", [](auto& a) { a.layers[0].mlp.shared_width = 4; }},
      {"layers[0].mlp.router.groups is 3, which does not divide the 8",
       [](auto& a) { use_experts(a).router.groups = 3; }},
      {"layers[0].mlp.router.groups_active", [](auto& a) { use_experts(a).router.groups_active = 5; }},
      {"layers[0].mlp.router.group_best", [](auto& a) { use_experts(a).router.group_best = 3; }},
      {"layers[0].mlp.router.scale", [](auto& a) { use_experts(a).router.scale = 0; }},
      {"mlp.experts of all layers together must be from 1 to 65536, but is 81920",
       [](auto& a) {
         a.layers.resize(20, a.layers.back());
         for (Layer& layer : a.layers) layer.mlp.experts = limits::experts;
       }},
      {"layers[0].mlp.experts_active must be from 1 to 2", [](auto& a) { use_experts(a).experts_active = 3; }},
      {"layers[4].shared_input_norm", [](auto& a) { a.layers[4].shared_input_norm = true; }},
      {"position.alibi_slopes are given", [](auto& a) { a.position.alibi_slopes = alibi_slopes(8); }},
  });
}

TEST(ArchValidate, AlibiNeedsOneSlopeForEachQueryHead) {
  Architecture a = uniform(2, 8, 4, 16);
  a.position.scheme = PositionScheme::alibi;
  for (KvStore& store : a.kv_stores) store.keys_rotated = false;
  for (Layer& layer : a.layers) layer.rotate_query = false;
  EXPECT_THAT(error_of([&] { validate(a); }), HasSubstr("position.alibi_slopes has 0 entries"));
  a.position.alibi_slopes = alibi_slopes(8);
  EXPECT_NO_THROW(validate(a));
  a.position.alibi_slopes[3] = nan;
  EXPECT_THAT(error_of([&] { validate(a); }), HasSubstr("must be finite"));
}

TEST(ArchValidate, ValuesOfOtherVariantsPass) {
  Architecture unrotated =
      uniform(4, 8, 4, 16, {0, 2});  // MLKV's released files: owners rotate on read, readers do not
  for (KvStore& store : unrotated.kv_stores) {
    store.keys_rotated = false;
    unrotated.layers[static_cast<size_t>(store.layer)].rotate_on_read = true;
  }
  EXPECT_NO_THROW(validate(unrotated));
  Architecture partial = uniform(2, 8, 8, 64);
  partial.position.rope.dims = 16;
  EXPECT_NO_THROW(validate(partial));
}

TEST(ArchStoreOf, FindsTheOwnersStoreAndRefusesLayersThatDoNotExist) {
  const Architecture a = uniform(6, 8, 4, 16, {0, 2, 4});
  for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(a.store_of(i).layer, i / 2 * 2);
  EXPECT_TRUE(a.owns_cache(2));
  EXPECT_FALSE(a.owns_cache(3));
  EXPECT_THAT(error_of([&] { a.store_of(6); }), HasSubstr("layer 6 does not exist"));
  EXPECT_THAT(error_of([&] { a.store_of(-1); }), HasSubstr("layer -1 does not exist"));
}

}  // namespace
}  // namespace headscope
