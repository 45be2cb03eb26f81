#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "core/base/error.h"
#include "core/data/map_tiles.h"
#include "core/data/tile_store.h"
#include "core/data/tiles.h"
#include "core/views/run_data.h"
#include "tests/unit/data_sample.h"

namespace headscope {
namespace {

using sample::GrowingRun;
using sample::RunShape;

constexpr size_t plenty = size_t{64} << 20;
constexpr size_t tile_bytes = sizeof(MapTile) + tile_cells * tile_cells * sizeof(float);

int64_t whole_end(int64_t end, int64_t bin, int64_t tokens) { return std::min(tokens, (end + bin - 1) / bin * bin); }

/// What the region should show, in one piece from the kernel.
std::vector<float> expected(const RunSnapshot& run, const MapRegion& r) {
  return compute_tile(run,
                      {r.layer, r.head, r.row_begin, whole_end(r.row_end, r.bin, run.tokens()), r.key_begin,
                       whole_end(r.key_end, r.bin, run.tokens()), r.bin},
                      SerialFor())
      .cells;
}

/// Equal to the bit.
bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Where a lane waits in `changed` until the test lets it go on, at the latest at the end of the test.
class Gate {
 public:
  void pass() {
    ++arrivals_;
    arrivals_.notify_all();
    open_.wait(false);
  }
  void open() {
    open_ = true;
    open_.notify_all();
  }
  void await_arrival() { arrivals_.wait(0); }
  int arrivals() const { return arrivals_; }

 private:
  std::atomic<int> arrivals_ = 0;
  std::atomic<bool> open_ = false;
};

/// A store whose lane stops at the gate whenever cells have arrived.
struct GatedStore {
  Gate gate;
  TileStore store{1, plenty, [this] { gate.pass(); }};

  ~GatedStore() { gate.open(); }
  TileStore* operator->() { return &store; }
};

MapRegion whole(int64_t tokens, int64_t bin = 1, int64_t head = 0) { return {0, head, 0, tokens, 0, tokens, bin}; }

struct Picker {
  std::mt19937_64 random{11};
  int64_t below(int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); }

  MapRegion region(const RunSnapshot& run, const RunShape& shape) {
    const int64_t tokens = run.tokens(), bin = int64_t{1} << below(6);
    const auto range = [&](int64_t& begin, int64_t& end) {
      begin = below((tokens + bin - 1) / bin) * bin;
      end = begin + 1 + below(tokens - begin);
    };
    MapRegion r{below(shape.layers), below(shape.q_heads), 0, 0, 0, 0, bin};
    range(r.row_begin, r.row_end);
    range(r.key_begin, r.key_end);
    return r;
  }
};

struct TileStoreShapeTest : ::testing::TestWithParam<RunShape> {};

TEST_P(TileStoreShapeTest, ComposedRegionsAreThoseOfTheKernel) {
  const RunShape shape = GetParam();
  GrowingRun growing(shape);
  Picker pick;
  std::atomic<int> changes = 0;
  TileStore store(2, plenty, [&] { ++changes; });
  for (int step = 0; step < 12; ++step) {
    growing.append(1 + pick.below(step % 3 == 0 ? 400 : 5));
    const auto run = growing.snapshot();
    for (int i = 0; i < 6; ++i) {
      const MapRegion region = pick.region(*run, shape);
      const std::vector<float> right = expected(*run, region);
      const ComposedMap first = store.region(run, 1, region);
      ASSERT_EQ(first.rows, region.rows());
      ASSERT_EQ(first.columns, region.columns());
      ASSERT_TRUE(!first.exact || same(*first.cells, right));
      for (size_t c = 0; c < right.size(); ++c) {
        // A thumbnail's weights are those of the forward pass, which differ from tiles by rounding.
        ASSERT_GE((*first.cells)[c], right[c] * (1 - 1e-4F)) << "step " << step << " cell " << c;
      }
      store.drain();
      const ComposedMap last = store.region(run, 1, region);
      ASSERT_TRUE(last.exact);
      ASSERT_TRUE(same(*last.cells, right)) << "step " << step << " region " << i << " bin " << region.bin;
      ASSERT_TRUE(store.idle()) << "nothing is left to compute";
    }
  }
  EXPECT_GT(changes, 0);
}

INSTANTIATE_TEST_SUITE_P(Shapes, TileStoreShapeTest,
                         ::testing::Values(RunShape{.spread = 3},
                                           RunShape{.layers = 2, .q_heads = 4, .kv_heads = 2, .window = 40},
                                           RunShape{.q_heads = 1, .alibi = true},
                                           RunShape{.expected_tokens = 1000, .thumbnail_cells = 48},
                                           RunShape{.window = 300, .soft_cap = 2, .thumbnail_cells = 16}));

TEST(TileStoreTest, CoarserTilesServeUntilFinerOnesAreThere) {
  GrowingRun growing({.q_heads = 1, .thumbnail_cells = 4, .spread = 3});
  growing.append(700);
  const auto run = growing.snapshot();
  const std::vector<float> coarse = expected(*run, whole(700, 4));
  GatedStore store;
  store->region(run, 1, whole(700, 4));
  store.gate.await_arrival();  // it is one tile, and there the lane is held
  const ComposedMap fine = store->region(run, 1, {0, 0, 512, 700, 0, 256, 1});
  EXPECT_FALSE(fine.exact);
  for (int64_t row = 0; row < 188; ++row) {
    for (int64_t column = 0; column < 256; ++column) {
      ASSERT_EQ((*fine.cells)[static_cast<size_t>(row * 256 + column)],
                coarse[static_cast<size_t>((512 + row) / 4 * 175 + column / 4)]);
    }
  }
  store.gate.open();
  store->drain();
  EXPECT_TRUE(
      same(*store->region(run, 1, {0, 0, 512, 700, 0, 256, 1}).cells, expected(*run, {0, 0, 512, 700, 0, 256, 1})));
}

TEST(TileStoreTest, TheFirstPictureComesFromTheThumbnailWithoutWaiting) {
  GrowingRun growing({.q_heads = 2, .expected_tokens = 192});
  growing.append(192);  // three tokens a cell of the thumbnail
  const auto run = growing.snapshot();
  const ThumbnailGrid& thumbnails = *run->layers[0].thumbnails;
  ASSERT_EQ(thumbnails.bin, 3);
  GatedStore store;
  store->region(run, 1, whole(192, 1, 0), 1);
  store.gate.await_arrival();  // another head's; there the lane is held
  const ComposedMap map = store->region(run, 1, whole(192, 2, 1));
  EXPECT_FALSE(map.exact);
  const auto at = [&](int64_t row, int64_t key) {
    return thumbnails.max[static_cast<size_t>((64 + row / 3) * 64 + key / 3)];
  };
  for (int64_t r = 0; r < 96; ++r) {
    for (int64_t c = 0; c < 96; ++c) {
      const float most =
          c > r ? 0
                : std::max({at(2 * r, 2 * c), at(2 * r, 2 * c + 1), at(2 * r + 1, 2 * c), at(2 * r + 1, 2 * c + 1)});
      ASSERT_EQ((*map.cells)[static_cast<size_t>(r * 96 + c)], most) << r << " " << c;
    }
  }
}

TEST(TileStoreTest, ItSaysWhichKernelComputedTheTiles) {
  GrowingRun run({.expected_tokens = 300}, 5);
  run.append(300);
  const auto snapshot = run.snapshot();
  const MapRegion region{0, 0, 0, 300, 0, 300, 2};
  TileStore store(1, plenty, {});
  EXPECT_EQ(store.region(snapshot, 1, {0, 1, 0, 300, 0, 300, 1}).kernel, "") << "a thumbnail is the run's";
  store.drain();
  store.region(snapshot, 1, region);
  store.drain();
  const ComposedMap map = store.region(snapshot, 1, region);
  EXPECT_EQ(map.kernel, select_attention_kernel({}).name) << "of f32";
  EXPECT_THAT(map_data(snapshot, region, map).facts.notes.front(),
              ::testing::HasSubstr(fmt::format("kernel {},", map.kernel)));
  const AttentionKernel& reference = attention_kernels().front();
  EXPECT_EQ(compute_tile(*snapshot, {0, 0, 0, 9, 0, 9}, SerialFor(), {}, &reference).kernel, reference.name);
}

TEST(TileStoreTest, NothingNewGivesTheSameCells) {
  GrowingRun growing({.q_heads = 2, .kv_heads = 1});
  growing.append(100);
  const auto run = growing.snapshot();
  TileStore store(1, plenty, {});
  store.region(run, 1, whole(64));
  store.drain();
  const ComposedMap first = store.region(run, 1, whole(64)), again = store.region(run, 1, whole(64));
  EXPECT_TRUE(first.exact);
  EXPECT_EQ(first.cells, again.cells);
  EXPECT_EQ(first.version, again.version);

  growing.append(1);  // rows above do not change
  EXPECT_EQ(store.region(growing.snapshot(), 1, whole(64)).version, first.version);
  // Another head, viewer or run is another picture.
  EXPECT_NE(store.region(run, 1, whole(64, 1, 1)).version, first.version);
  EXPECT_NE(store.region(run, 1, whole(64), 1).version, first.version);
  EXPECT_NE(store.region(run, 2, whole(64)).version, first.version);
}

TEST(TileStoreTest, ACellThatTheEndCutGrowsWithTheRun) {
  GrowingRun growing({.q_heads = 1});
  growing.append(50);
  TileStore store(1, plenty, {});
  const MapRegion region = whole(50, 4);
  store.region(growing.snapshot(), 1, region);
  store.drain();
  const ComposedMap before = store.region(growing.snapshot(), 1, region);
  ASSERT_TRUE(before.exact);
  growing.append(2);  // the last cell was of two tokens and is of four now
  const auto run = growing.snapshot();
  store.region(run, 1, region);
  store.drain();
  const ComposedMap after = store.region(run, 1, region);
  EXPECT_TRUE(after.exact);
  EXPECT_NE(after.version, before.version);
  EXPECT_TRUE(same(*after.cells, expected(*run, region)));
  EXPECT_FALSE(same(*after.cells, *before.cells));
}

TEST(TileStoreTest, ACutTileIsContinuedNotComputedAgain) {
  GrowingRun growing({.q_heads = 1});
  growing.append(50);
  const TileKey key{1, 0, 0, 4, 0, 0};
  const MapTilePtr first = extend_tile(*growing.snapshot(), key, nullptr, SerialFor(), {});
  ASSERT_EQ(first->length, 50);
  MapTile marked = *first;
  for (float& cell : marked.cells) cell = 5;
  growing.append(13);
  const auto run = growing.snapshot();
  const MapTilePtr longer = extend_tile(*run, key, &marked, SerialFor(), {});
  ASSERT_EQ(longer->length, 63);
  const std::vector<float> right = expected(*run, whole(63, 4));
  for (int64_t i = 0; i < 16 * 16; ++i) {
    const float want = i / 16 < 12 ? 5 : right[static_cast<size_t>(i)];  // row 12 was cut at token 50
    ASSERT_EQ(longer->cells[static_cast<size_t>(i / 16 * tile_cells + i % 16)], want) << i;
  }
}

/// Runs tasks one after the other and asks to stop before one of them.
class StoppingFor final : public ParallelFor {
 public:
  StoppingFor(std::stop_source source, int64_t after) : source_(std::move(source)), after_(after) {}
  int workers() const override { return 1; }
  void run(int64_t tasks, const std::function<void(int64_t, int)>& body) const override {
    for (int64_t task = 0; task < tasks; ++task) {
      if (started_++ == after_) source_.request_stop();
      body(task, 0);
    }
  }
  int64_t started() const { return started_; }

 private:
  mutable std::stop_source source_;
  int64_t after_;
  mutable int64_t started_ = 0;
};

TEST(TileStoreTest, WorkOnATileIsCutIntoStepsThatStop) {
  constexpr int64_t tokens = 9000, bin = 32;  // a tile of 8,192 x 8,192 tokens
  GrowingRun growing({.q_heads = 1, .key_dim = 4, .expected_tokens = tokens});
  growing.append(tokens);
  const auto run = growing.snapshot();
  const TileKey key{1, 0, 0, bin, 0, 0};
  MapTilePtr tile;
  int steps = 0;
  while (!covers(key, tile.get(), tokens)) {
    const int64_t before = tile ? tile->length : 0;
    tile = extend_tile(*run, key, tile.get(), SerialFor(), {});
    EXPECT_LE((tile->length - before) * tile->length, band_products) << "products in a step";
    ++steps;
  }
  EXPECT_GT(steps, 2);
  EXPECT_TRUE(same(tile->cells, expected(*run, {0, 0, 0, 8192, 0, 8192, bin})));

  std::stop_source source;
  const StoppingFor workers(source, 2);
  EXPECT_THROW(extend_tile(*run, key, nullptr, workers, source.get_token()), Cancelled);
  EXPECT_GT(workers.started(), 2);
}

TEST(TileStoreTest, WhatNobodyWantsAnyMoreIsDropped) {
  GrowingRun growing({.q_heads = 1, .key_dim = 4});
  growing.append(1024);  // ten tiles
  const auto run = growing.snapshot();
  GatedStore store;
  store->region(run, 1, whole(1024));
  store.gate.await_arrival();
  store->region(run, 1, {0, 0, 256, 512, 0, 256, 1}, 1);  // another viewer keeps one of them
  store->region(run, 1, {0, 0, 768, 1024, 0, 256, 1});
  store.gate.open();
  store->drain();
  EXPECT_LE(store.gate.arrivals(), 3);
  EXPECT_TRUE(store->region(run, 1, {0, 0, 256, 512, 0, 256, 1}, 1).exact);
  EXPECT_TRUE(store->region(run, 1, {0, 0, 768, 1024, 0, 256, 1}).exact);
}

TEST(TileStoreTest, ADroppedTileLetsItsRunGo) {
  GrowingRun growing({.q_heads = 1, .key_dim = 4});
  growing.append(100);
  auto old = growing.snapshot();
  const std::weak_ptr<const RunSnapshot> watch = old;
  const auto run = growing.snapshot();
  GatedStore store;
  store->region(run, 1, whole(100));
  store.gate.await_arrival();
  store->region(old, 2, whole(100), 5);
  old.reset();
  EXPECT_FALSE(watch.expired()) << "queued";
  store->region(run, 1, whole(100), 5);
  EXPECT_TRUE(watch.expired());
}

TEST(TileStoreTest, TilesNearestToTheMiddleComeFirst) {
  GrowingRun growing({.q_heads = 1, .key_dim = 4});
  growing.append(1280);
  const auto run = growing.snapshot();
  GatedStore store;
  store->region(run, 1, whole(1280));
  store.gate.await_arrival();
  EXPECT_TRUE(store->region(run, 1, {0, 0, 512, 768, 512, 768, 1}, 1).exact);
}

TEST(TileStoreTest, OnlyTilesThatNoQuerySeesAreLeftOut) {
  for (const int64_t bin : {1, 2}) {
    const int64_t span = tile_cells * bin;
    for (const int64_t window : {int64_t{0}, int64_t{1}, int64_t{2}, int64_t{3}, span, span + 1, span + 2, 3 * span}) {
      for (int64_t row = 0; row < 5; ++row) {
        for (int64_t column = 0; column < 5; ++column) {
          const TileKey key{1, 0, 0, bin, row, column};
          bool seen = false;
          for (int64_t query = key.row_begin(); query < key.row_begin() + span; ++query) {
            const int64_t last = std::min(query, key.key_begin() + span - 1);  // the newest key that may be seen
            seen |= last >= key.key_begin() && (window == 0 || last > query - window);
          }
          ASSERT_EQ(sees_nothing(key, window), !seen) << bin << " " << window << " " << row << " " << column;
        }
      }
    }
  }
}

TEST(TileStoreTest, TheBudgetHolds) {
  GrowingRun growing({.q_heads = 2, .key_dim = 4});
  growing.append(1024);
  const auto run = growing.snapshot();
  std::atomic<size_t> most = 0;
  TileStore* watched = nullptr;
  const size_t budget = 4 * tile_bytes;
  TileStore store(1, budget, [&] { most = std::max(most.load(), watched->bytes()); });
  watched = &store;
  // Ten tiles are wanted and four fit: those nearest to the middle come, and then it rests.
  store.region(run, 1, whole(1024));
  store.drain();
  const ComposedMap map = store.region(run, 1, whole(1024));
  EXPECT_FALSE(map.exact);
  EXPECT_TRUE(store.idle());
  EXPECT_LE(most, budget);
  EXPECT_EQ(store.bytes(), budget);
  EXPECT_TRUE(store.region(run, 1, {0, 0, 256, 768, 256, 768, 1}).exact);

  // Another head takes the place of what was used least recently.
  store.region(run, 1, whole(512, 1, 1));
  store.drain();
  EXPECT_TRUE(store.region(run, 1, whole(512, 1, 1)).exact);
  EXPECT_LE(most, budget);
  EXPECT_LE(store.bytes(), budget);
}

TEST(TileStoreTest, WithoutABudgetThereAreThumbnails) {
  GrowingRun growing({});
  growing.append(10);
  TileStore store(1, 0, {});
  const ComposedMap map = store.region(growing.snapshot(), 1, whole(10));
  EXPECT_TRUE(store.idle());
  EXPECT_FALSE(map.exact);
  EXPECT_NEAR((*map.cells)[0], 1, 1e-6);
}

TEST(TileStoreTest, AForgottenRunIsGone) {
  GrowingRun growing({.q_heads = 1, .key_dim = 4});
  growing.append(1024);
  auto run = growing.snapshot();
  const std::weak_ptr<const RunSnapshot> watch = run;
  GatedStore store;
  store->region(run, 1, whole(1024));
  store.gate.await_arrival();
  EXPECT_GT(store->bytes(), 0u);
  store->forget(1);
  store.gate.open();
  store->drain();
  EXPECT_EQ(store->bytes(), 0u);
  EXPECT_EQ(store.gate.arrivals(), 1);
  run.reset();
  EXPECT_TRUE(watch.expired());

  // Others stay.
  store->region(growing.snapshot(), 2, whole(100));
  store->drain();
  const size_t bytes = store->bytes();
  EXPECT_GT(bytes, 0u);
  store->forget(1);
  EXPECT_EQ(store->bytes(), bytes);
}

TEST(TileStoreTest, AnOlderSnapshotDoesNotUndoLongerTiles) {
  GrowingRun growing({.q_heads = 1});
  growing.append(50);
  const auto early = growing.snapshot();
  growing.append(20);
  const auto late = growing.snapshot();
  TileStore store(1, plenty, {});
  store.region(late, 1, whole(70, 4));
  store.drain();
  EXPECT_FALSE(store.region(early, 1, whole(50, 4), 1).exact);  // its last cells hold later rows
  EXPECT_TRUE(store.idle());
  EXPECT_TRUE(store.region(early, 1, whole(48, 4), 1).exact);
  EXPECT_TRUE(store.region(late, 1, whole(70, 4)).exact);
  // Single tokens are never cut.
  store.region(late, 1, whole(70));
  store.drain();
  const ComposedMap old = store.region(early, 1, whole(50), 1);
  EXPECT_TRUE(old.exact);
  EXPECT_TRUE(same(*old.cells, expected(*early, whole(50))));
}

TEST(TileStoreTest, RowsThatAreNotNumbersStayNotNumbers) {
  GrowingRun growing({.q_heads = 1});
  growing.append(20);
  auto run = std::make_shared<RunSnapshot>(*growing.snapshot());
  auto spoilt = std::make_shared<RowBuffer>(std::make_shared<MemoryLedger>(), MemoryPurpose::viewer, 20, 1);
  const RowsView& before = run->layers[0].log_sum;
  auto* numbers = reinterpret_cast<float*>(spoilt->row(0));
  std::copy_n(before.row(0), 20, numbers);
  numbers[7] = std::numeric_limits<float>::quiet_NaN();
  run->layers[0].log_sum = {spoilt, 20};
  TileStore store(1, plenty, {});
  store.region(run, 1, whole(20));
  store.drain();
  const ComposedMap map = store.region(run, 1, whole(20));
  EXPECT_TRUE(same(*map.cells, expected(*run, whole(20))));
  EXPECT_TRUE(std::isnan((*map.cells)[7 * 20 + 7]));
  EXPECT_EQ((*map.cells)[7 * 20 + 8], 0);
}

TEST(TileStoreTest, RegionsThatMakeNoSenseAreRefused) {
  GrowingRun growing({});
  growing.append(20);
  const auto run = growing.snapshot();
  TileStore store(1, plenty, {});
  EXPECT_THROW(store.region(run, 1, whole(21)), Error);
  EXPECT_THROW(store.region(run, 1, whole(20, 3)), Error);
  EXPECT_THROW(store.region(run, 1, whole(20, 0)), Error);
  EXPECT_THROW(store.region(run, 1, {0, 0, 1, 20, 0, 20, 2}), Error);
  EXPECT_THROW(store.region(run, 1, {0, 0, 0, 20, 3, 20, 2}), Error);
  EXPECT_THROW(store.region(run, 1, {0, 0, 5, 5, 0, 20, 1}), Error);
  EXPECT_THROW(store.region(run, 1, {1, 0, 0, 20, 0, 20, 1}), Error);
  EXPECT_THROW(store.region(run, 1, {0, 2, 0, 20, 0, 20, 1}), Error);
  auto huge = std::make_shared<RunSnapshot>(*run);
  huge->ids.resize(5000);
  EXPECT_THROW(store.region(huge, 1, whole(5000)), Error);
}

}  // namespace
}  // namespace headscope
