// Queries that are made again from the ids or from a saved input have the bits of those that a run keeps.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "core/base/error.h"
#include "core/data/tiles.h"
#include "core/model/random_weights.h"
#include "core/run/query_maker.h"
#include "tests/run/budget_runs.h"
#include "tests/run/recording_device.h"
#include "tests/run/schemes.h"

namespace headscope {
namespace {

using testing::Elsewhere;
using testing::Records;

/// A prompt in two chunks, tokens one by one, few and many together.
const std::vector<int64_t> usual_passes = {40, 1, 1, 1, 5, 1, 12};
constexpr int64_t usual_tokens = 61;

struct Wanted {
  RunOptions options;
  std::vector<int64_t> passes = usual_passes;
};

/// Of everything kept, of nothing, and of something in between. `limited_by` is another model of the same weights.
void check(const std::shared_ptr<const Model>& model, const Wanted& wanted = {}) {
  RunOptions options = wanted.options;
  options.chunk = std::min<int64_t>(options.chunk, 24);
  const RunSnapshot kept = fed_run(model, wanted.passes, options).snapshot();
  const int64_t all = all_query_bytes(*model, kept.tokens());
  for (const int64_t bytes : {int64_t{0}, all / 3, all * 3 / 4}) {
    SCOPED_TRACE(bytes * 100 / all);
    options.query_bytes = bytes;
    const RunSnapshot limited = fed_run(model, wanted.passes, options).snapshot();
    EXPECT_LT(kept_layers(limited), model->architecture()->layer_count());
    EXPECT_TRUE(bytes > 0 || kept_layers(limited) == 0);
    expect_same_queries(kept, limited);
  }
}

class BudgetSchemes : public ::testing::TestWithParam<SharingScheme> {};

TEST_P(BudgetSchemes, MakeTheBitsThatWereNotKept) {
  use_threads(1);
  for (const Windows windows : {Windows::none, Windows::sliding, Windows::alternating}) {
    SCOPED_TRACE(static_cast<int>(windows));
    const auto model = random_model(architecture_of(GetParam(), windows));
    check(model);
    if (GetParam().stored != Stored::latent) continue;
    for (const MlaForm form : {MlaForm::naive, MlaForm::absorbed}) {
      Wanted wanted;
      wanted.options.mla.form = form;
      check(model, wanted);
    }
  }
}

TEST_P(BudgetSchemes, MakeThemOnADeviceThatPlainCodeCannotRead) {
  use_threads(1);
  check(random_model(architecture_of(GetParam(), Windows::alternating), 1,
                     std::make_shared<Elsewhere>(attention_kernels())));
}

/// Steps that a device records keep inputs and queries as the plan says, and what is made from them are their bits.
TEST_P(BudgetSchemes, MakeThemBehindRecordedSteps) {
  use_threads(1);
  const auto device = testing::device_that(Records::yes);
  const auto model = random_model(architecture_of(GetParam(), Windows::alternating), 1, device);
  const bool made_anew = GetParam().stored == Stored::keys_only;  // values, at each step, of all keys
  check(model, {{}, {9, 1, 1, 1, 1, 1, 1}});
  EXPECT_EQ(device->repeats > 0, !made_anew);
}

INSTANTIATE_TEST_SUITE_P(Run, BudgetSchemes, ::testing::ValuesIn(sharing_schemes()),
                         [](const auto& scheme) { return scheme.param.name; });

Architecture dynamic_architecture() {
  Architecture a = small_architecture();
  a.position.rope.scaling = {.kind = RopeScaling::Kind::dynamic, .factor = 3, .original_context = 24};
  return a;
}

Architecture gemma_like_architecture() {
  Architecture a = small_architecture();
  a.embedding_scale = 3;
  for (Layer& layer : a.layers) {
    layer.soft_cap = 2;
    layer.norm_after = true;
    layer.qk_norm = QkNorm::per_head;
  }
  return a;
}

Architecture parallel_architecture() {
  Architecture a = small_gpt2_architecture();
  for (Layer& layer : a.layers) {
    layer.residual = Residual::parallel;
    layer.shared_input_norm = true;
  }
  return a;
}

Architecture experts_architecture() {
  Architecture a = small_architecture();
  a.layers[1].mlp.experts = 8;
  a.layers[1].mlp.experts_active = 3;
  a.layers[1].mlp.shared_width = 11;
  return a;
}

TEST(QueryMaker, OfOtherKindsOfLayers) {
  use_threads(1);
  for (const auto& make : {small_gpt2_architecture, small_latent_architecture, gemma_like_architecture,
                           parallel_architecture, experts_architecture}) {
    const Architecture architecture = make();
    SCOPED_TRACE(architecture.family);
    check(random_model(architecture));
  }
}

/// The pass that a token came in turns it: one of 40 tokens, cut into chunks of 24, and shorter ones.
TEST(QueryMaker, OfDynamicRope) { check(random_model(dynamic_architecture())); }

TEST(QueryMaker, OfModelsInBf16) {
  use_threads(1);
  check(random_weights("small", small_architecture(), DType::bf16));
  check(random_weights("latent", small_latent_architecture(), DType::bf16));
}

TEST(QueryMaker, OfHeadsThatAreOff) {
  const auto model = random_model(small_architecture());
  Wanted wanted;
  wanted.options.interventions = {{Intervention::Kind::zero_head, 0, 1}, {Intervention::Kind::zero_head, 1, 3}};
  check(model, wanted);
}

/// An input that is not the run's own changes the queries of its layer and of those behind it, up to the next one.
TEST(QueryMaker, StartsAtTheNearestSavedInput) {
  const auto model = random_model(small_architecture());
  const auto ledger = std::make_shared<MemoryLedger>();
  const RunSnapshot run = fed_run(model, {20}, {}).snapshot();
  GrowingRows other(ledger, MemoryPurpose::viewer, 24, 20);
  other.append(std::vector<float>(20 * 24, 0.5F).data(), 20);
  for (size_t saved = 1; saved < 3; ++saved) {
    SCOPED_TRACE(saved);
    Past past{{{20, 20}}, std::vector<RowsView>(3)};
    past.inputs[saved] = other.view();
    QueryMaker maker(model, {}, {}, ledger);
    for (size_t layer = 0; layer < 3; ++layer) {
      const RowsView made = maker.make(run, past, static_cast<int64_t>(layer), {}), &kept = run.layers[layer].q;
      EXPECT_EQ(std::equal(made.row(0), made.row(0) + 20 * 24, kept.row(0)), layer < saved) << layer;
    }
  }
}

/// The host, that asks for a stop once so many blocks have been copied.
class StopsAfter final : public Device {
 public:
  explicit StopsAfter(int copies) : copies_(copies) {}
  std::string_view name() const override { return "cpu"; }
  bool is_host() const override { return true; }
  bool on_gpu() const override { return false; }
  std::byte* allocate(size_t bytes, void*) const override { return host()->allocate(bytes); }
  void release(std::byte* memory, size_t bytes) const noexcept override { host()->release(memory, bytes); }
  void copy(void* to, const void* from, size_t bytes, void* stream) const override {
    host()->copy(to, from, bytes, stream);
    if (--copies_ == 0) stop.request_stop();
  }
  void wait(void*) const override {}
  std::span<const AttentionKernel> kernels() const override { return host()->kernels(); }

  mutable std::stop_source stop;

 private:
  mutable std::atomic<int> copies_;
};

class Made : public ::testing::Test {
 protected:
  static RunOptions nothing_kept() {
    RunOptions options;
    options.query_bytes = 0;
    options.chunk = 10;
    return options;
  }
  std::shared_ptr<const Model> model_ = random_model(small_architecture());
};

TEST_F(Made, IsKeptForWhoAsksAgain) {
  const RunSnapshot run = fed_run(model_, {30}, nothing_kept()).snapshot();
  EXPECT_EQ(queries_at_hand(run, 2, run.tokens()), std::nullopt);
  const RowsView first = queries_of(run, 2);
  EXPECT_EQ(queries_of(run, 2).buffer, first.buffer);
  EXPECT_EQ(queries_at_hand(run, 2, run.tokens())->buffer, first.buffer);
  // There is room for one layer.
  queries_of(run, 1);
  EXPECT_EQ(queries_at_hand(run, 2, run.tokens()), std::nullopt);
  EXPECT_TRUE(queries_at_hand(run, 1, run.tokens()));
}

TEST_F(Made, LeastRecentlyUsedGoesFirst) {
  RunOptions options = nothing_kept();
  headscope::Run run = fed_run(model_, {30}, options);
  const RunSnapshot kept = fed_run(model_, {30}, {}).snapshot();
  const auto ledger = std::make_shared<MemoryLedger>();
  QueryMaker maker(model_, {}, {}, ledger);
  const int64_t layer_bytes = 30 * 24 * 4;
  maker.limit(2 * layer_bytes);
  const Past past{{{30, 30}}, std::vector<RowsView>(3)};
  const RunSnapshot snapshot = run.snapshot();
  for (const int64_t layer : {0, 1}) maker.make(snapshot, past, layer, {});
  EXPECT_TRUE(maker.made(0, 30));  // used again
  maker.make(snapshot, past, 2, {});
  EXPECT_TRUE(maker.made(0, 30));
  EXPECT_FALSE(maker.made(1, 30));
  EXPECT_EQ(ledger->bytes(MemoryPurpose::viewer), 2 * layer_bytes);
  maker.limit(0);
  EXPECT_EQ(ledger->bytes(MemoryPurpose::viewer), layer_bytes);
  EXPECT_LE(ledger->peak_bytes(MemoryPurpose::viewer), 2 * layer_bytes);
}

/// A longer snapshot goes on where a shorter one ended; the shorter one still gets its own rows.
TEST_F(Made, GoesOnWhenTheRunHasGrown) {
  const auto ids = random_ids(*model_->architecture(), 33);
  headscope::Run run(model_, nothing_kept()), kept(model_, [] {
    RunOptions options;
    options.chunk = 10;
    return options;
  }());
  for (headscope::Run* one : {&run, &kept}) one->extend(std::span(ids).first(30));
  const RunSnapshot shorter = run.snapshot();
  const RowsView before = queries_of(shorter, 2);
  for (size_t i = 30; i < 33; ++i) {
    for (headscope::Run* one : {&run, &kept}) one->extend(std::span(ids).subspan(i, 1));
  }
  const RunSnapshot longer = run.snapshot();
  EXPECT_EQ(queries_at_hand(longer, 2, longer.tokens()), std::nullopt);
  expect_same_queries(kept.snapshot(), longer);
  expect_same_bits(before, queries_of(shorter, 2), "the shorter run's queries");
}

/// What two of three chunks made stays, and is not made again.
TEST_F(Made, GoesOnBehindTheChunksThatWereDoneWhenItStopped) {
  const RunSnapshot run = fed_run(model_, {30}, nothing_kept()).snapshot();
  const auto device = std::make_shared<StopsAfter>(2);
  QueryMaker maker(model_, {}, {}, std::make_shared<MemoryLedger>(device));
  Past past{{{10, 30}, {20, 30}, {30, 30}}, std::vector<RowsView>(3)};
  EXPECT_THROW(maker.make(run, past, 2, device->stop.get_token()), Cancelled);
  const auto there = maker.made(2, 20);
  ASSERT_TRUE(there);
  EXPECT_EQ(maker.made(2, 21), std::nullopt);
  const RowsView all = maker.make(run, past, 2, {});
  EXPECT_EQ(all.buffer, there->buffer);
  expect_same_bits(queries_of(run, 2), all, "queries");
}

TEST_F(Made, StopsBeforeALayer) {
  const RunSnapshot run = fed_run(model_, {30}, nothing_kept()).snapshot();
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THROW(queries_of(run, 2, stop.get_token()), Cancelled);
  EXPECT_EQ(queries_at_hand(run, 2, run.tokens()), std::nullopt);
  EXPECT_THROW(compute_tile(run, {2, 0, 0, 30, 0, 30}, SerialFor(), stop.get_token()), Cancelled);
  RunOptions kept;
  kept.chunk = 10;
  expect_same_queries(fed_run(model_, {30}, kept).snapshot(), run);
}

TEST_F(Made, OutlivesTheRunAndItsModelsOtherOwners) {
  RunOptions options;
  options.chunk = 10;
  const RunSnapshot kept = fed_run(model_, {30}, options).snapshot();
  const RunSnapshot run = fed_run(random_model(small_architecture()), {30}, nothing_kept()).snapshot();
  expect_same_queries(kept, run);
}

/// A run that was stopped in a chunk, which was not counted.
TEST_F(Made, LeavesOutWhatTheRunTookBack) {
  const auto ids = random_ids(*model_->architecture(), 30);
  RunOptions options = nothing_kept();
  options.query_bytes = all_query_bytes(*model_, 30) / 2;
  const auto stopped = [&](RunOptions wanted) {
    headscope::Run run(model_, std::move(wanted));
    run.extend(std::span(ids).first(12));
    std::stop_source stop;
    const Progress progress{stop.get_token(), [&](std::string_view, double fraction) {
                              if (fraction > 0.65) stop.request_stop();
                            }};
    EXPECT_THROW(run.extend(std::span(ids).subspan(12), progress), Cancelled);
    EXPECT_EQ(run.tokens(), 22);
    run.extend(std::span(ids).subspan(22));
    return run.snapshot();
  };
  RunOptions kept;
  kept.chunk = 10;
  expect_same_queries(stopped(kept), stopped(options));
}

TEST_F(Made, BySeveralThreadsAtOnce) {
  headscope::Run run = fed_run(model_, {30}, nothing_kept());
  RunOptions options;
  options.chunk = 10;
  headscope::Run kept = fed_run(model_, {30}, options);
  const RunSnapshot snapshot = run.snapshot(), whole = kept.snapshot();
  std::vector<std::jthread> threads;
  for (int64_t first = 0; first < 3; ++first) {
    threads.emplace_back([&, first] {
      for (int64_t i = 0; i < 6; ++i) {
        const int64_t layer = (first + i) % 3;
        expect_same_bits(whole.layers[static_cast<size_t>(layer)].q, queries_of(snapshot, layer), "queries");
      }
    });
  }
  // Meanwhile the run grows.
  for (int i = 0; i < 10; ++i) {
    const int32_t id = 7;
    run.extend(std::span(&id, 1));
    kept.extend(std::span(&id, 1));
  }
  threads.clear();
  expect_same_queries(kept.snapshot(), run.snapshot());
}

}  // namespace
}  // namespace headscope
