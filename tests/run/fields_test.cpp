// The architecture is more general than the forward pass. Here every field is set to another value: either the
// logits change, or the model is refused by name. A field that is silently ignored fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "tests/run/budget_runs.h"
#include "tests/run/fed_runs.h"
#include "tests/run/random_model.h"
#include "tests/run/recording_device.h"

namespace headscope {
namespace {

using Change = std::function<void(Architecture&)>;

std::vector<float> logits_of(const Architecture& architecture) {
  headscope::Run run(random_model(architecture), {});
  run.extend(random_ids(architecture, 33));
  const auto logits = run.last_logits();
  return {logits.begin(), logits.end()};
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) sum += std::abs(a[i] - b[i]);
  return sum / static_cast<double>(a.size());
}

/// What a case changes: each field needs a model that uses it.
enum class Base { llama, llama3, yarn, gpt2, mla, experts };

/// Layer 1 reads latents of 10 numbers beside a rope key of 6.
void use_mla(Architecture& a) {
  a.kv_stores[1] = {
      .layer = 1, .kv_heads = 1, .key_dim = 16, .value_dim = 10, .stored = Stored::latent, .keys_rotated = true};
  a.layers[1].mla = Mla{.query_rank = 9, .content_dim = 5, .value_dim = 7};
}

void use_experts(Architecture& a) {
  a.layers[1].mlp.experts = 8;
  a.layers[1].mlp.experts_active = 3;
  a.layers[1].mlp.shared_width = 12;
  a.layers[1].mlp.router = {.groups = 4, .groups_active = 2};
}

Architecture base_architecture(Base base) {
  if (base == Base::gpt2) return small_gpt2_architecture();
  Architecture architecture = small_architecture();
  if (base == Base::llama3) architecture.position.rope.scaling = {RopeScaling::Kind::llama3, 8, 1, 4, 16};
  if (base == Base::yarn) {
    architecture.position.rope.base = 10;  // so that the blend lies within the few dimensions
    architecture.position.rope.scaling = {RopeScaling::Kind::yarn, 8, 1, 4, 64, 8};
  }
  if (base == Base::mla) use_mla(architecture);
  if (base == Base::experts) use_experts(architecture);
  return architecture;
}

Change scaling_change(const RopeScaling& scaling) {
  return [scaling](Architecture& a) { a.position.rope.scaling = scaling; };
}

struct FieldCase {
  std::string name;
  Change change;
  std::string refusal;  ///< words of the refusal; empty: the logits must change
  Base base = Base::llama;
};

Change on_layer(const std::function<void(Layer&)>& change) {
  return [change](Architecture& a) { change(a.layers[1]); };
}
/// Keys made from values, or values from keys.
Change half_a_cache(Stored stored) {
  return [stored](Architecture& a) {
    a.kv_stores[1].stored = stored;
    a.kv_stores[1].keys_rotated = false;
    a.layers[1].rotate_on_read = true;
  };
}
Change on_router(const std::function<void(Router&)>& change) {
  return [change](Architecture& a) { change(a.layers[1].mlp.router); };
}
Change on_store(const std::function<void(KvStore&)>& change) {
  return [change](Architecture& a) { change(a.kv_stores[1]); };
}

std::vector<FieldCase> changed_cases() {
  return {
      {"norm", [](Architecture& a) { a.norm = Norm::layer_norm; }, ""},
      {"norm_epsilon", [](Architecture& a) { a.norm_epsilon = 0.1; }, ""},
      {"rope_style", [](Architecture& a) { a.position.rope.style = RotationStyle::interleaved; }, ""},
      {"rope_dims", [](Architecture& a) { a.position.rope.dims = 4; }, ""},
      {"rope_base", [](Architecture& a) { a.position.rope.base = 100; }, ""},
      {"rope_linear",
       [](Architecture& a) {
         a.position.rope.scaling = {RopeScaling::Kind::linear, 2, 1, 4, 0};
       },
       ""},
      {"rope_llama3",
       [](Architecture& a) {
         a.position.rope.scaling = {RopeScaling::Kind::llama3, 8, 1, 4, 16};
       },
       ""},
      {"rope_yarn",
       [](Architecture& a) {
         a.position.rope.scaling = {RopeScaling::Kind::yarn, 2, 1, 4, 16};
       },
       ""},
      {"rope_dynamic",
       [](Architecture& a) {
         a.position.rope.scaling = {RopeScaling::Kind::dynamic, 2, 1, 4, 16};
       },
       ""},
      {"yarn_beta_fast", scaling_change({RopeScaling::Kind::yarn, 8, 1, 4, 64, 2}), "", Base::yarn},
      {"yarn_beta_slow", scaling_change({RopeScaling::Kind::yarn, 8, 1, 4, 64, 8, 2}), "", Base::yarn},
      {"yarn_attention_factor", scaling_change({RopeScaling::Kind::yarn, 8, 1, 4, 64, 8, 1, 1.5}), "", Base::yarn},
      {"layer_rope", on_layer([](Layer& l) {
         l.rope = Rope{RotationStyle::rotate_half, 6, 77, {}};
       }),
       ""},
      {"low_freq_factor", scaling_change({RopeScaling::Kind::llama3, 8, 2, 4, 16}), "", Base::llama3},
      {"high_freq_factor", scaling_change({RopeScaling::Kind::llama3, 8, 1, 6, 16}), "", Base::llama3},
      {"original_context", scaling_change({RopeScaling::Kind::llama3, 8, 1, 4, 32}), "", Base::llama3},
      {"embedding_scale", [](Architecture& a) { a.embedding_scale = 3; }, ""},
      {"logits_soft_cap", [](Architecture& a) { a.logits_soft_cap = 1; }, ""},
      {"lm_head_bias", [](Architecture& a) { a.lm_head_bias = true; }, ""},
      {"learned_offset", [](Architecture& a) { a.position.learned_offset = 2; }, "", Base::gpt2},
      {"position_none", [](Architecture& a) { a.position.scheme = PositionScheme::none; }, "", Base::gpt2},
      {"alibi",
       [](Architecture& a) {
         a.position.scheme = PositionScheme::alibi;
         a.position.alibi_slopes = {0.5, 0.25, 0.125, 0.0625};
       },
       "", Base::gpt2},
      {"scale", on_layer([](Layer& l) { l.scale = 0.3; }), ""},
      {"window", on_layer([](Layer& l) { l.window = 5; }), ""},
      {"soft_cap", on_layer([](Layer& l) { l.soft_cap = 0.5; }), ""},
      {"rotate_query", on_layer([](Layer& l) { l.rotate_query = false; }), ""},
      {"residual", on_layer([](Layer& l) { l.residual = Residual::parallel; }), ""},
      {"shared_input_norm", on_layer([](Layer& l) {
         l.residual = Residual::parallel;
         l.shared_input_norm = true;
       }),
       ""},
      {"qkv_bias", on_layer([](Layer& l) { l.qkv_bias = true; }), ""},
      {"output_bias", on_layer([](Layer& l) { l.output_bias = true; }), ""},
      {"mlp_bias", on_layer([](Layer& l) { l.mlp.bias = true; }), ""},
      {"mlp_width", on_layer([](Layer& l) { l.mlp.width = 36; }), ""},
      {"mlp_gated", on_layer([](Layer& l) { l.mlp.gated = false; }), ""},
      {"activation_gelu", on_layer([](Layer& l) { l.mlp.activation = Activation::gelu; }), ""},
      {"activation_relu", on_layer([](Layer& l) { l.mlp.activation = Activation::relu; }), ""},
      {"q_heads", on_layer([](Layer& l) { l.q_heads = 2; }), ""},
      {"kv_owner",
       [](Architecture& a) {
         a.layers[1].kv_owner = 0;
         a.kv_stores.erase(a.kv_stores.begin() + 1);
       },
       ""},
      {"qk_norm", on_layer([](Layer& l) { l.qk_norm = QkNorm::per_head; }), ""},
      {"qk_norm_whole", on_layer([](Layer& l) { l.qk_norm = QkNorm::whole; }), ""},
      {"norm_before", on_layer([](Layer& l) {
         l.norm_before = false;
         l.norm_after = true;
       }),
       ""},
      {"norm_after", on_layer([](Layer& l) { l.norm_after = true; }), ""},
      {"store_window",
       [](Architecture& a) {
         a.layers[1].window = 8;
         a.kv_stores[1].window = 8;
       },
       ""},
      {"rotate_on_read",
       [](Architecture& a) {  // the same as stored rotated, but for a reader that does not rotate
         a.layers[2].kv_owner = 1;
         a.kv_stores.pop_back();
         a.layers[1].rotate_on_read = true;
         a.kv_stores[1].keys_rotated = false;
       },
       ""},
      {"keys_unrotated", on_store([](KvStore& s) { s.keys_rotated = false; }), ""},
      {"kv_heads", on_store([](KvStore& s) { s.kv_heads = 1; }), ""},
      {"key_dim", on_store([](KvStore& s) { s.key_dim = 8; }), ""},
      {"value_dim", on_store([](KvStore& s) { s.value_dim = 10; }), ""},
      {"values_only", half_a_cache(Stored::values_only), ""},
      {"keys_only", half_a_cache(Stored::keys_only), ""},
      {"latent", use_mla, ""},
      {"query_rank", on_layer([](Layer& l) { l.mla->query_rank = 0; }), "", Base::mla},
      {"content_dim", on_layer([](Layer& l) { l.mla->content_dim = 6; }), "", Base::mla},
      {"mla_value_dim", on_layer([](Layer& l) { l.mla->value_dim = 8; }), "", Base::mla},
      {"mla_norm_epsilon", on_layer([](Layer& l) { l.mla->norm_epsilon = 0.1; }), "", Base::mla},
      {"mla_bias", on_layer([](Layer& l) { l.qkv_bias = true; }), "", Base::mla},
      {"latent_rope_style", [](Architecture& a) { a.position.rope.style = RotationStyle::interleaved; }, "", Base::mla},
      {"latent_width", on_store([](KvStore& s) { s.value_dim = 9; }), "", Base::mla},
      {"latent_reader",
       [](Architecture& a) {
         a.layers[2].mla = a.layers[1].mla;
         a.layers[2].kv_owner = 1;
         a.kv_stores.pop_back();
       },
       "", Base::mla},
      {"experts", use_experts, ""},
      {"experts_active", on_layer([](Layer& l) { l.mlp.experts_active = 2; }), "", Base::experts},
      {"shared_width", on_layer([](Layer& l) { l.mlp.shared_width = 0; }), "", Base::experts},
      {"expert_gated", on_layer([](Layer& l) { l.mlp.gated = false; }), "", Base::experts},
      {"router_score", on_router([](Router& r) { r.score = Router::Score::sigmoid; }), "", Base::experts},
      {"router_choice_bias", on_router([](Router& r) { r.choice_bias = true; }), "", Base::experts},
      {"router_groups", on_router([](Router& r) { r.groups = 2, r.groups_active = 1; }), "", Base::experts},
      {"router_groups_active", on_router([](Router& r) { r.groups_active = 4; }), "", Base::experts},
      {"router_group_best", on_router([](Router& r) { r.group_best = 2; }), "", Base::experts},
      {"router_normalised", on_router([](Router& r) { r.normalised = true; }), "", Base::experts},
      {"router_scale", on_router([](Router& r) { r.scale = 2; }), "", Base::experts},
  };
}

std::vector<FieldCase> refused_cases() {
  return {
      {"rope_dynamic",
       [](Architecture& a) {
         a.position.rope.scaling = {RopeScaling::Kind::dynamic, 2, 1, 4, 16};
         a.layers[2].rotate_on_read = true;
         a.kv_stores[2].keys_rotated = false;
       },
       "dynamic rope scaling of keys that are rotated when they are read"},
  };
}

class ChangedField : public ::testing::TestWithParam<FieldCase> {};

TEST_P(ChangedField, ChangesTheLogits) {
  const Architecture plain = base_architecture(GetParam().base);
  Architecture changed = plain;
  GetParam().change(changed);
  const double mean = difference(logits_of(changed), logits_of(plain));
  EXPECT_TRUE(std::isfinite(mean));
  EXPECT_GT(mean, 1e-4) << GetParam().name << " is ignored";
}

TEST_P(ChangedField, IsInRecordedStepsToo) {
  use_threads(1);
  Architecture changed = base_architecture(GetParam().base);
  GetParam().change(changed);
  const Plan plan{{9, 1, 1, 1, 1}, false};
  const Fed one_by_one(random_model(changed, 1, testing::device_that(testing::Records::never)), plan);
  const auto device = testing::device_that(testing::Records::yes);
  expect_same_bits(one_by_one, Fed(random_model(changed, 1, device), plan));
  const bool by_host = std::ranges::any_of(changed.layers, [](const Layer& layer) { return layer.mlp.experts > 1; });
  const bool made_anew =
      std::ranges::any_of(changed.kv_stores, [](const KvStore& store) { return store.stored == Stored::keys_only; });
  EXPECT_EQ(device->repeats, by_host || made_anew ? 0 : 3);
}

TEST_P(ChangedField, IsInQueriesThatAreMadeAgain) {
  use_threads(1);
  Architecture changed = base_architecture(GetParam().base);
  GetParam().change(changed);
  const auto model = random_model(changed);
  RunOptions nothing_kept;
  nothing_kept.query_bytes = 0;
  const std::vector<int64_t> passes = {19, 1, 1, 9};
  expect_same_queries(fed_run(model, passes, {}).snapshot(), fed_run(model, passes, nothing_kept).snapshot());
}

INSTANTIATE_TEST_SUITE_P(Fields, ChangedField, ::testing::ValuesIn(changed_cases()),
                         [](const auto& test) { return test.param.name; });

class RefusedField : public ::testing::TestWithParam<FieldCase> {};

TEST_P(RefusedField, IsRefusedByName) {
  Architecture changed = small_architecture();
  GetParam().change(changed);
  try {
    random_model(changed);
    FAIL() << GetParam().name << " was accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr(GetParam().refusal));
  }
}

INSTANTIATE_TEST_SUITE_P(Fields, RefusedField, ::testing::ValuesIn(refused_cases()),
                         [](const auto& test) { return test.param.name; });

TEST(Fields, ContextIsALimit) {
  Architecture architecture = small_architecture();
  headscope::Run run(random_model(architecture), {});
  EXPECT_THROW(run.extend(random_ids(architecture, architecture.context + 1)), Error);
  run.extend(random_ids(architecture, architecture.context));
  EXPECT_EQ(run.tokens(), architecture.context);
}

TEST(Fields, VocabularyIsALimit) {
  const Architecture architecture = small_architecture();
  headscope::Run run(random_model(architecture), {});
  for (const int32_t id : {-1, 61}) EXPECT_THROW(run.extend(std::vector<int32_t>{id}), Error);
}

}  // namespace
}  // namespace headscope
