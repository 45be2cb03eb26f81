#include "core/run/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/data/tiles.h"
#include "core/views/run_data.h"
#include "kernels/thread_pool.h"
#include "tests/run/random_model.h"

namespace headscope {
namespace {

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

double range(const std::vector<float>& values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return *high - *low;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!(difference <= worst)) worst = std::isnan(difference) ? INFINITY : difference;
  }
  return worst;
}

/// A layer of each kind of cache use: owners, a reader of layer 0, a window, two widths.
Architecture mixed_architecture() {
  Architecture a = small_architecture();
  a.layers[1].kv_owner = 0;
  a.kv_stores.erase(a.kv_stores.begin() + 1);
  a.layers[2].window = 7;
  a.kv_stores[1].value_dim = 10;
  return a;
}

RunSnapshot run_all(const std::shared_ptr<const Model>& model, const std::vector<int32_t>& ids,
                    RunOptions options = {}) {
  headscope::Run run(model, options);
  run.extend(ids);
  return run.snapshot();
}

/// Its own context is 24 tokens.
Architecture dynamic_architecture() {
  Architecture a = small_architecture();
  a.position.rope.scaling = {.kind = RopeScaling::Kind::dynamic, .factor = 3, .original_context = 24};
  return a;
}

std::vector<float> last_logits_of(const Architecture& architecture, const std::vector<int64_t>& passes) {
  headscope::Run run(random_model(architecture), {});
  for (const int64_t tokens : passes) {
    const auto ids = random_ids(architecture, run.tokens() + tokens);
    run.extend(std::span(ids).last(static_cast<size_t>(tokens)));
  }
  return copy(run.last_logits());
}

TEST(Run, DynamicRopeIsPlainUpToItsOwnContextAndGoesByThePassBeyond) {
  const Architecture dynamic = dynamic_architecture(), plain = small_architecture();
  const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
    return largest_difference(a, b) <= 2e-5 * range(b);
  };
  EXPECT_TRUE(same(last_logits_of(dynamic, {24}), last_logits_of(plain, {24})));
  EXPECT_TRUE(same(last_logits_of(dynamic, {20, 3, 1}), last_logits_of(plain, {24})));
  EXPECT_FALSE(same(last_logits_of(dynamic, {25}), last_logits_of(plain, {25})));
  EXPECT_FALSE(same(last_logits_of(dynamic, {24, 6}), last_logits_of(dynamic, {30})));
}

TEST(Run, CachedEqualsUncachedHoweverThePromptIsCut) {
  for (const Architecture& architecture :
       {small_architecture(), small_gpt2_architecture(), mixed_architecture(), dynamic_architecture()}) {
    const auto model = random_model(architecture);
    const auto ids = random_ids(architecture, 41);
    RunOptions all;
    all.logits = LogitsWanted::all();
    headscope::Run whole(model, all);
    whole.extend(ids);
    for (const int64_t chunk : {1, 3, 16, 40}) {
      RunOptions options = all;
      options.chunk = chunk;
      headscope::Run chunked(model, options);
      chunked.extend(ids);
      ASSERT_EQ(chunked.logits().rows, 41);
      const auto size = static_cast<size_t>(41 * architecture.vocab_size);
      const auto expected = copy({whole.logits().row(0), size}), found = copy({chunked.logits().row(0), size});
      EXPECT_LE(largest_difference(expected, found), 2e-5 * range(expected)) << "chunks of " << chunk;
    }
  }
}

TEST(Run, UsedBytesAreRowsTimesTheFormulaAndAllocatedBytesTheCapacity) {
  const Architecture architecture = mixed_architecture();
  headscope::Run run(random_model(architecture), {});
  run.extend(random_ids(architecture, 30));
  const RunSnapshot snapshot = run.snapshot();
  ASSERT_EQ(snapshot.stores.size(), 2u);
  int64_t used = 0, allocated = 0, by_capacity = 0;
  for (const KvRows& store : snapshot.stores) {
    EXPECT_EQ(store.k.buffer->capacity(), store.v.buffer->capacity());
    used += store.used_bytes;
    allocated += store.allocated_bytes;
    by_capacity += store.k.buffer->capacity() * 4 * architecture.store_of(store.layer).elements_per_token();
  }
  EXPECT_EQ(used, kv_bytes(architecture, 1, 30, 4));
  EXPECT_EQ(used, 30 * 4 * (2 * (6 + 6) + 2 * (6 + 10)));
  EXPECT_EQ(allocated, by_capacity);
  EXPECT_GE(allocated, used);
}

TEST(Run, ExpectedLengthIsAllocatedExactly) {
  const Architecture architecture = small_architecture();
  RunOptions options;
  options.expected_tokens = 30;
  headscope::Run run(random_model(architecture), options);
  run.extend(random_ids(architecture, 30));
  for (const KvRows& store : run.snapshot().stores) EXPECT_EQ(store.used_bytes, store.allocated_bytes);
}

TEST(Run, GrowthKeepsWhatASnapshotHoldsAndCountsItAsViewerBytes) {
  const Architecture architecture = small_architecture();
  headscope::Run run(random_model(architecture), {});
  run.extend(random_ids(architecture, 16, 1));
  const RunSnapshot early = run.snapshot();
  const auto keys = copy({early.stores[0].k.row(0), static_cast<size_t>(16 * early.stores[0].k.width())});
  const auto thumbnails = early.layers[0].thumbnails->max;
  const int64_t viewer_before = early.viewer_bytes;
  run.extend(random_ids(architecture, 16, 2));
  EXPECT_EQ(early.tokens(), 16);
  EXPECT_EQ(keys, copy({early.stores[0].k.row(0), keys.size()}));
  EXPECT_EQ(thumbnails, early.layers[0].thumbnails->max);
  const RunSnapshot late = run.snapshot();
  EXPECT_NE(late.stores[0].k.buffer, early.stores[0].k.buffer);
  EXPECT_GT(late.viewer_bytes, viewer_before);
  int64_t allocated = 0;
  for (const KvRows& store : late.stores) allocated += store.allocated_bytes;
  EXPECT_GT(late.kv_peak_bytes, allocated);
  EXPECT_EQ(late.allocated_history.size(), 32u);
  EXPECT_LT(late.allocated_history.front(), late.allocated_history.back());
}

/// Statistics and thumbnails of the forward pass against the map recomputed as tiles: two code paths, one answer.
TEST(Run, StatisticsAndThumbnailsAgreeWithTheMap) {
  const Architecture architecture = mixed_architecture();
  constexpr int64_t n = 70;
  RunOptions options;
  options.expected_tokens = n;
  options.chunk = 32;
  const RunSnapshot run = run_all(random_model(architecture), random_ids(architecture, n), options);
  const ThreadPool workers(2);
  for (int64_t layer = 0; layer < 3; ++layer) {
    const LayerRows& rows = run.layers[static_cast<size_t>(layer)];
    ASSERT_EQ(rows.thumbnails->bin, 2);
    for (int64_t head = 0; head < 4; ++head) {
      const Tile map = compute_tile(run, {layer, head, 0, n, 0, n}, workers);
      for (int64_t i = 0; i < n; ++i) {
        double sum = 0, entropy = 0, distance = 0;
        int64_t argmax = 0;
        for (int64_t j = 0; j < n; ++j) {
          const double p = map.cells[static_cast<size_t>(i * n + j)];
          sum += p;
          if (p > 0) entropy -= p * std::log(p);
          distance += p * static_cast<double>(i - j);
          if (p > map.cells[static_cast<size_t>(i * n + argmax)]) argmax = j;
          const bool masked = j > i || (layer == 2 && j <= i - 7);
          EXPECT_TRUE(!masked || p == 0) << layer << ":" << head << " " << i << " -> " << j;
        }
        EXPECT_NEAR(sum, 1, 1e-5);
        EXPECT_NEAR(rows.statistic(Statistic::entropy, i, head, 4), entropy, 2e-5);
        EXPECT_NEAR(rows.statistic(Statistic::distance, i, head, 4), distance, 1e-3);
        EXPECT_EQ(rows.statistic(Statistic::argmax, i, head, 4), static_cast<float>(argmax));
        EXPECT_NEAR(rows.statistic(Statistic::sink, i, head, 4), map.cells[static_cast<size_t>(i * n)], 1e-6);
      }
      const Tile pooled = compute_tile(run, {layer, head, 0, n, 0, n, 2, Pooling::max}, workers);
      for (int64_t r = 0; r < pooled.rows; ++r) {
        for (int64_t c = 0; c < pooled.columns; ++c) {
          EXPECT_NEAR(rows.thumbnails->max[static_cast<size_t>((head * 64 + r) * 64 + c)],
                      pooled.cells[static_cast<size_t>(r * pooled.columns + c)], 1e-5);
        }
      }
    }
  }
}

TEST(Run, ThumbnailsGrowCoarserByMaxPooling) {
  const Architecture architecture = small_architecture();
  const auto model = random_model(architecture);
  const auto ids = random_ids(architecture, 75);
  RunOptions known;
  known.expected_tokens = 128;  // bin 2 from the start
  const auto expected = run_all(model, ids, known).layers[1].thumbnails;
  RunOptions one_by_one;
  one_by_one.chunk = 1;  // bin 1 until token 64, then 2
  const auto found = run_all(model, ids, one_by_one).layers[1].thumbnails;
  EXPECT_EQ(found->bin, 2);
  EXPECT_LE(largest_difference(expected->max, found->max), 1e-5);
}

TEST(Run, ZeroedHeadChangesOnlyWhatComesAfterIt) {
  const Architecture architecture = small_architecture();
  const auto model = random_model(architecture);
  const auto ids = random_ids(architecture, 20);
  RunOptions zero;
  zero.interventions = {{Intervention::Kind::zero_head, 1, 2}};
  const RunSnapshot plain = run_all(model, ids), changed = run_all(model, ids, zero);
  EXPECT_THAT(changed.interventions, ::testing::ElementsAre("zero 1:2"));
  const AtlasData seen = atlas_data(changed);
  EXPECT_TRUE(seen.layers[1].heads[2].off);
  EXPECT_FALSE(seen.layers[2].heads[1].off);
  const auto queries = [](const RunSnapshot& run, size_t layer) {
    return copy({run.layers[layer].q.row(0), static_cast<size_t>(20 * run.layers[layer].q.width())});
  };
  EXPECT_EQ(queries(plain, 0), queries(changed, 0));
  EXPECT_EQ(queries(plain, 1), queries(changed, 1));
  EXPECT_GT(largest_difference(queries(plain, 2), queries(changed, 2)), 1e-3);
}

TEST(Run, ZeroingAHeadThatIsNotThereIsRefused) {
  const auto model = random_model(small_architecture());
  for (const auto& [layer, head] : {std::pair{3, 0}, std::pair{0, 4}}) {
    RunOptions options;
    options.interventions = {{Intervention::Kind::zero_head, layer, head}};
    EXPECT_THROW(headscope::Run(model, options), Error);
  }
}

TEST(Run, CancelTakesBackTheUnfinishedChunk) {
  const Architecture architecture = small_architecture();
  const auto model = random_model(architecture);
  const auto ids = random_ids(architecture, 24);
  headscope::Run run(model, {});
  run.extend(std::span(ids).first(12));
  const RunSnapshot before = run.snapshot();
  std::stop_source stop;
  Progress progress{stop.get_token(), [&](std::string_view, double fraction) {
                      if (fraction > 0.2) stop.request_stop();  // in the middle of the layers
                    }};
  EXPECT_THROW(run.extend(std::span(ids).subspan(12), progress), Cancelled);
  const RunSnapshot after = run.snapshot();
  EXPECT_EQ(after.ids, before.ids);
  for (size_t layer = 0; layer < 3; ++layer) {
    EXPECT_EQ(after.layers[layer].q.rows, 12);
    EXPECT_EQ(after.layers[layer].statistics.rows, 12);
    EXPECT_EQ(after.stores[layer].k.rows, 12);
    EXPECT_EQ(after.layers[layer].thumbnails->max, before.layers[layer].thumbnails->max);
  }
  run.extend(std::span(ids).subspan(12));
  headscope::Run fresh(model, {});
  fresh.extend(ids);
  EXPECT_LE(largest_difference(copy(run.last_logits()), copy(fresh.last_logits())), 1e-4);
}

TEST(Run, LogitsOfARangeAreRowsOfAllLogits) {
  const Architecture architecture = small_architecture();
  const auto model = random_model(architecture);
  const auto ids = random_ids(architecture, 30);
  RunOptions all, some;
  all.logits = LogitsWanted::all();
  some.logits = {11, 14};
  some.chunk = 12;
  all.chunk = 12;
  headscope::Run whole(model, all), part(model, some);
  whole.extend(ids);
  part.extend(ids);
  ASSERT_EQ(part.logits().rows, 3);
  for (int64_t row = 0; row < 3; ++row) {
    const auto size = static_cast<size_t>(architecture.vocab_size);
    EXPECT_LE(largest_difference(copy({part.logits().row(row), size}), copy({whole.logits().row(11 + row), size})),
              1e-5);
  }
}

TEST(Run, TileRangesOutsideTheRunAreRefused) {
  const Architecture architecture = small_architecture();
  const RunSnapshot run = run_all(random_model(architecture), random_ids(architecture, 10));
  const SerialFor workers;
  for (const TileQuery& query : {TileQuery{3, 0, 0, 1, 0, 1}, TileQuery{0, 4, 0, 1, 0, 1}, TileQuery{0, 0, 0, 11, 0, 1},
                                 TileQuery{0, 0, 3, 3, 0, 1}, TileQuery{0, 0, 0, 1, 0, 1, 0}}) {
    EXPECT_THROW(compute_tile(run, query, workers), Error);
  }
}

}  // namespace
}  // namespace headscope
