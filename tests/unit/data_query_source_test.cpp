// Snapshots that lack queries: who asks gets them from the source, and a thread that must not wait gets them later.
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <mutex>

#include "core/base/error.h"
#include "core/data/query_source.h"
#include "core/data/score.h"
#include "core/data/tile_store.h"
#include "core/data/tiles.h"
#include "tests/unit/data_sample.h"

namespace headscope {
namespace {

using sample::GrowingRun;

/// Gives what a whole snapshot has, once it has been asked to make it.
class Source final : public QuerySource {
 public:
  explicit Source(std::shared_ptr<const RunSnapshot> whole) : whole_(std::move(whole)) {}
  RowsView make(const RunSnapshot& run, int64_t layer, std::stop_token stop) const override {
    ++asked;
    if (fails) fail("no memory");
    if (wait) {
      begun.count_down();
      while (!stop.stop_requested()) std::this_thread::yield();
      throw Cancelled();
    }
    const std::lock_guard lock(mutex_);
    made_[static_cast<size_t>(layer)] = true;
    return {whole_->layers[static_cast<size_t>(layer)].q.buffer, run.tokens()};
  }
  std::optional<RowsView> made(int64_t layer, int64_t rows) const override {
    const std::lock_guard lock(mutex_);
    if (!made_[static_cast<size_t>(layer)]) return std::nullopt;
    return RowsView{whole_->layers[static_cast<size_t>(layer)].q.buffer, rows};
  }

  mutable std::atomic<int> asked = 0;
  std::atomic<bool> fails = false, wait = false;
  mutable std::latch begun{1};

 private:
  std::shared_ptr<const RunSnapshot> whole_;
  mutable std::mutex mutex_;
  mutable std::array<bool, 2> made_{};
};

class QuerySourceTest : public ::testing::Test {
 protected:
  QuerySourceTest() {
    GrowingRun growing({.layers = 2, .expected_tokens = 40});
    growing.append(40);
    whole_ = growing.snapshot();
    source_ = std::make_shared<Source>(whole_);
    auto lacking = std::make_shared<RunSnapshot>(*whole_);
    for (LayerRows& layer : lacking->layers) layer.q = {};
    lacking->query_source = source_;
    lacking_ = lacking;
  }

  std::shared_ptr<const RunSnapshot> whole_, lacking_;
  std::shared_ptr<Source> source_;
};

TEST_F(QuerySourceTest, TilesAndScoresAreThoseOfKeptQueries) {
  const TileQuery query{1, 1, 3, 40, 0, 40, 2};
  EXPECT_EQ(queries_at_hand(*lacking_, 1, 1), std::nullopt);
  EXPECT_EQ(compute_tile(*lacking_, query, SerialFor()).cells, compute_tile(*whole_, query, SerialFor()).cells);
  EXPECT_EQ(score_and_weight(*lacking_, 1, 1, 30, 7).weight, score_and_weight(*whole_, 1, 1, 30, 7).weight);
  EXPECT_EQ(queries_at_hand(*lacking_, 1, 12)->rows, 12);
  EXPECT_EQ(queries_at_hand(*whole_, 0, 12)->rows, 40);
  EXPECT_EQ(source_->asked, 1);
}

TEST_F(QuerySourceTest, AHostsCopyLacksNone) {
  const RunSnapshot here = lacking_->on_host();
  EXPECT_EQ(here.query_source, nullptr);
  for (size_t layer = 0; layer < 2; ++layer) EXPECT_EQ(here.layers[layer].q.buffer, whole_->layers[layer].q.buffer);
}

TEST_F(QuerySourceTest, WithoutASourceThatIsAMistake) {
  RunSnapshot nobody = *lacking_;
  nobody.query_source = nullptr;
  EXPECT_EQ(queries_at_hand(nobody, 0, 1), std::nullopt);
  EXPECT_THROW(queries_of(nobody, 0), std::logic_error);
}

TEST_F(QuerySourceTest, ATileStoreMakesThemOnItsLane) {
  std::atomic<int> changes = 0;
  TileStore store(1, size_t{1} << 20, [&] { ++changes; });
  EXPECT_TRUE(store.queries(whole_, 1, 0, 40).rows);
  EXPECT_EQ(store.queries(lacking_, 2, 0, 40).rows, std::nullopt);
  store.drain();
  EXPECT_EQ(changes, 1);
  EXPECT_EQ(store.queries(lacking_, 2, 0, 40).rows->buffer, whole_->layers[0].q.buffer);
  EXPECT_EQ(source_->asked, 1);
}

TEST_F(QuerySourceTest, ATileStoreTriesOnceWhatFails) {
  std::atomic<int> changes = 0;
  TileStore store(1, size_t{1} << 20, [&] { ++changes; });
  source_->fails = true;
  EXPECT_FALSE(store.queries(lacking_, 2, 0, 40).failed) << "still to come";
  for (int frame = 0; frame < 5; ++frame) {
    store.drain();
    const MapQueries queries = store.queries(lacking_, 2, 0, 40);
    EXPECT_FALSE(queries.rows);
    EXPECT_TRUE(queries.failed);
  }
  EXPECT_EQ(source_->asked, 1);
  EXPECT_EQ(changes, 1);
  const auto failure = store.take_failure();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->run, 2U);
  EXPECT_EQ(failure->sentence, "no memory");
  EXPECT_FALSE(store.take_failure()) << "told once";
  source_->fails = false;
  store.forget(2);
  EXPECT_FALSE(store.queries(lacking_, 2, 0, 40).failed);
  store.drain();
  EXPECT_TRUE(store.queries(lacking_, 2, 0, 40).rows);
}

/// However often a region is asked for; another one, or a longer run, is a new beginning.
TEST_F(QuerySourceTest, ATileThatFailsIsTriedOnceAndItsCellsStayCoarse) {
  std::atomic<int> changes = 0;
  TileStore store(1, size_t{1} << 24, [&] { ++changes; });
  source_->fails = true;
  const MapRegion region{1, 0, 0, 40, 0, 40}, other{1, 0, 0, 39, 0, 40};
  EXPECT_FALSE(store.region(lacking_, 2, region).failed) << "still to come";
  for (int frame = 0; frame < 5; ++frame) {
    store.drain();
    const ComposedMap map = store.region(lacking_, 2, region);
    EXPECT_TRUE(map.failed);
    EXPECT_FALSE(map.exact);
  }
  EXPECT_EQ(source_->asked, 1);
  EXPECT_EQ(changes, 1);
  EXPECT_EQ(store.take_failure()->sentence, "no memory");
  source_->fails = false;
  EXPECT_FALSE(store.region(lacking_, 2, other).failed);
  store.drain();
  EXPECT_TRUE(store.region(lacking_, 2, other).exact);
  EXPECT_TRUE(store.region(lacking_, 2, region).exact);
}

TEST_F(QuerySourceTest, FailuresOfAForgottenRunAreNotTold) {
  TileStore store(1, size_t{1} << 24, {});
  source_->fails = true;
  store.region(lacking_, 2, {1, 0, 0, 40, 0, 40});
  store.drain();
  store.forget(2);
  EXPECT_FALSE(store.take_failure());
}

/// Another layer's are wanted before the first ones are there.
TEST_F(QuerySourceTest, ATileStoreStopsWhatIsNotWantedAnyMore) {
  TileStore store(1, size_t{1} << 20, {});
  source_->wait = true;
  EXPECT_EQ(store.queries(lacking_, 2, 0, 40).rows, std::nullopt);
  source_->begun.wait();
  source_->wait = false;
  EXPECT_EQ(store.queries(lacking_, 2, 1, 40).rows, std::nullopt);
  store.drain();
  EXPECT_EQ(store.queries(lacking_, 2, 0, 40).rows, std::nullopt);
  EXPECT_TRUE(store.queries(lacking_, 2, 1, 40).rows);
}

/// A map whose layer lacks queries becomes exact all the same.
TEST_F(QuerySourceTest, MapsBecomeExact) {
  TileStore store(1, size_t{1} << 24, {});
  const MapRegion region{1, 0, 0, 40, 0, 40};
  store.region(lacking_, 2, region);
  store.drain();
  const ComposedMap map = store.region(lacking_, 2, region);
  EXPECT_TRUE(map.exact);
  EXPECT_EQ(*map.cells, compute_tile(*whole_, {1, 0, 0, 40, 0, 40}, SerialFor()).cells);
}

}  // namespace
}  // namespace headscope
