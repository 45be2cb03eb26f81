// Decode steps that a device records and repeats: the bits of steps that are done one after the other.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/run/decoder.h"
#include "tests/run/fed_runs.h"
#include "tests/run/random_model.h"
#include "tests/run/recording_device.h"

namespace headscope {
namespace {

using testing::device_that;
using testing::Records;

Plan prompt_and_tokens(int64_t prompt, size_t tokens) {
  Plan plan{{prompt}, false};
  plan.passes.resize(tokens + 1, 1);
  return plan;
}

class RecordedSchemes : public ::testing::TestWithParam<SharingScheme> {};

/// Over buffers that grow, windows that move and thumbnails that get coarser (at 65 tokens). Every second layer has a
/// window.
TEST_P(RecordedSchemes, HaveTheBitsOfStepsOneByOne) {
  const SharingScheme& scheme = GetParam();
  use_threads(1);
  const Architecture architecture = architecture_of(scheme, Windows::alternating);
  const bool made_anew = scheme.stored == Stored::keys_only;  // values, at each step, of all keys
  const Plan plan = made_anew ? prompt_and_tokens(5, 3) : prompt_and_tokens(57, 14);
  const auto device = device_that(Records::yes);
  const Fed one_by_one(random_model(architecture, 1, device_that(Records::never)), plan);
  const Fed recorded(random_model(architecture, 1, device), plan);
  expect_same_bits(one_by_one, recorded);
  if (made_anew) {
    EXPECT_EQ(device->repeats, 0);
  } else {
    EXPECT_GE(device->recordings, 2);
    EXPECT_GE(device->repeats, 8) << "of 15 tokens";
  }
}

INSTANTIATE_TEST_SUITE_P(Run, RecordedSchemes, ::testing::ValuesIn(sharing_schemes()),
                         [](const auto& scheme) { return scheme.param.name; });

TEST(DecodeStep, OfLearnedPositionsBiasesAndQkNorms) {
  use_threads(1);
  const Plan plan = prompt_and_tokens(5, 8);
  for (const Architecture& architecture : {small_gpt2_architecture(), small_latent_architecture()}) {
    const auto device = device_that(Records::yes);
    const Fed one_by_one(random_model(architecture, 1, device_that(Records::never)), plan);
    expect_same_bits(one_by_one, Fed(random_model(architecture, 1, device), plan));
    EXPECT_GE(device->repeats, 5);
  }
}

TEST(DecodeStep, KeepsWhatSnapshotsHold) {
  use_threads(1);
  const Architecture architecture = small_architecture();
  headscope::Run run(random_model(architecture, 1, device_that(Records::yes)), {});
  const auto ids = random_ids(architecture, 12);
  run.extend(std::span(ids).first(6));
  extend_one_by_one(run, std::span(ids).subspan(6, 3));
  const RunSnapshot before = run.snapshot();
  const std::vector<float> grid = before.layers[0].thumbnails->max;
  const RowsView queries = before.layers[0].q.on_host(0, before.layers[0].q.rows);
  extend_one_by_one(run, std::span(ids).subspan(9, 3));
  EXPECT_EQ(before.layers[0].thumbnails->max, grid);
  EXPECT_NE(run.snapshot().layers[0].thumbnails->max, grid);
  expect_same_bits(before.layers[0].q, queries, "queries");
}

/// Heads that an intervention switches off are so in recorded steps, too.
TEST(DecodeStep, MakesInterventions) {
  use_threads(1);
  const Architecture architecture = small_architecture();
  const auto ids = random_ids(architecture, 10);
  const auto logits_of = [&](Records records, std::vector<Intervention> changes) {
    RunOptions options;
    options.interventions = std::move(changes);
    headscope::Run run(random_model(architecture, 1, device_that(records)), options);
    run.extend(std::span(ids).first(5));
    extend_one_by_one(run, std::span(ids).subspan(5));
    return std::vector<float>(run.last_logits().begin(), run.last_logits().end());
  };
  const std::vector<Intervention> zero = {{Intervention::Kind::zero_head, 0, 1}};
  EXPECT_EQ(logits_of(Records::yes, zero), logits_of(Records::never, zero));
  EXPECT_NE(logits_of(Records::yes, zero), logits_of(Records::yes, {}));
}

TEST(DecodeStep, ThatFailsLeavesTheRunAsItWas) {
  use_threads(1);
  const Architecture architecture = small_architecture();
  const auto device = device_that(Records::but_fails);
  headscope::Run run(random_model(architecture, 1, device), {});
  const auto ids = random_ids(architecture, 12);
  run.extend(std::span(ids).first(6));
  extend_one_by_one(run, std::span(ids).subspan(6, 3));
  const std::vector<float> grid = run.snapshot().layers[0].thumbnails->max;
  device->fails_after = device->repeats;
  EXPECT_THROW(run.extend(std::span(ids).subspan(9, 1)), Error);
  EXPECT_EQ(run.tokens(), 9);
  const RunSnapshot after = run.snapshot();
  for (const LayerRows& layer : after.layers) {
    for (const RowsView* rows : {&layer.q, &layer.row_max, &layer.log_sum, &layer.statistics}) EXPECT_EQ(rows->rows, 9);
  }
  for (const KvRows& store : after.stores) EXPECT_EQ(store.k.rows, 9);
  EXPECT_EQ(after.layers[0].thumbnails->max, grid);
  device->fails_after = -1;
  extend_one_by_one(run, std::span(ids).subspan(9, 3));
  headscope::Run undisturbed(random_model(architecture, 1, device_that(Records::yes)), {});
  undisturbed.extend(std::span(ids).first(6));
  extend_one_by_one(undisturbed, std::span(ids).subspan(6));
  EXPECT_TRUE(std::ranges::equal(run.last_logits(), undisturbed.last_logits()));
}

/// Tokens one by one behind a prompt of 6: the last logits.
std::vector<float> logits_after(headscope::Run& run, std::span<const int32_t> ids) {
  run.extend(ids.first(6));
  extend_one_by_one(run, ids.subspan(6));
  return {run.last_logits().begin(), run.last_logits().end()};
}

TEST(DecodeStep, GoesOnWithoutARecordingThatIsRefused) {
  use_threads(1);
  const Architecture architecture = small_architecture();
  const auto ids = random_ids(architecture, 12);
  const auto device = device_that(Records::refused);
  headscope::Run refused(random_model(architecture, 1, device), {});
  headscope::Run plain(random_model(architecture, 1, device_that(Records::never)), {});
  EXPECT_EQ(logits_after(refused, ids), logits_after(plain, ids));
  EXPECT_EQ(device->repeats, 0);
}

/// A first step that had no memory is done again before it is recorded: a recording may make nothing ready.
TEST(DecodeStep, ThatHadNoMemoryIsAFirstOneAgain) {
  use_threads(1);
  const Architecture architecture = small_architecture();
  const auto ids = random_ids(architecture, 12);
  headscope::Run undisturbed(random_model(architecture, 1, device_that(Records::never)), {});
  const std::vector<float> expected = logits_after(undisturbed, ids);
  bool late = false;
  for (int allocation = 0; !late; ++allocation) {
    const auto device = device_that(Records::yes);
    headscope::Run run(random_model(architecture, 1, device), {});
    run.extend(std::span(ids).first(6));
    device->fails_at_allocation = allocation;
    try {
      run.extend(std::span(ids).subspan(6, 1));
      late = true;  // the step needs no more memory than that
    } catch (const std::bad_alloc&) {
      EXPECT_EQ(run.tokens(), 6);
      run.extend(std::span(ids).subspan(6, 1));
      EXPECT_EQ(device->recordings, 0) << allocation;
    }
    device->fails_at_allocation = -1;
    extend_one_by_one(run, std::span(ids).subspan(7));
    EXPECT_TRUE(std::ranges::equal(run.last_logits(), expected)) << allocation;
  }
}

/// Ropes that are equal until the context is left, where one of them is scaled.
TEST(DecodeStep, FollowsDynamicRopes) {
  use_threads(1);
  Architecture architecture = small_architecture();
  architecture.position.rope.scaling = {};
  Rope scaled = architecture.position.rope;
  scaled.scaling = {RopeScaling::Kind::dynamic, 2, 1, 4, 16};
  architecture.layers[1].rope = scaled;
  const auto device = device_that(Records::yes);
  const Plan plan = prompt_and_tokens(9, 14);
  const Fed one_by_one(random_model(architecture, 1, device_that(Records::never)), plan);
  expect_same_bits(one_by_one, Fed(random_model(architecture, 1, device), plan));
  EXPECT_GE(device->repeats, 10);
}

TEST(DecodeStep, OfABatchThatFailsLeavesTheCachesAsTheyWere) {
  use_threads(1);
  const Architecture architecture = small_architecture();
  const auto ids = random_ids(architecture, 7);
  for (const bool recorded : {true, false}) {
    const auto device = device_that(Records::yes);
    Decoder decoder(random_model(architecture, 1, device), 2, 40, recorded);
    Decoder undisturbed(random_model(architecture, 1, device_that(Records::never)), 2, 40);
    for (Decoder* one : {&decoder, &undisturbed}) one->prefill(ids);
    std::vector<int32_t> next = {1, 2};
    for (int step = 0; step < 6; ++step) {
      device->fails_at_allocation = 3;
      EXPECT_THROW(decoder.step(next), std::bad_alloc) << step;
      device->fails_at_allocation = -1;
      EXPECT_EQ(decoder.kv_used_bytes(), undisturbed.kv_used_bytes()) << step;
      const std::vector<int32_t> expected = undisturbed.step(next);
      EXPECT_EQ(decoder.step(next), expected) << step;
      next = expected;
    }
  }
}

TEST(DecodeStep, OfSeveralSequencesChoosesTheSameTokens) {
  use_threads(1);
  const Architecture architecture = small_architecture();
  const auto device = device_that(Records::yes);
  Decoder one_by_one(random_model(architecture, 1, device_that(Records::never)), 3, 4);
  Decoder recorded(random_model(architecture, 1, device), 3, 4);
  expect_same_tokens(one_by_one, recorded, architecture, 12);
  EXPECT_GE(device->repeats, 6);
}

}  // namespace
}  // namespace headscope
