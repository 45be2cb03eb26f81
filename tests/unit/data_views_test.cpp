#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "core/views/run_data.h"
#include "tests/unit/data_sample.h"

namespace headscope {
namespace {

using sample::GrowingRun;

bool same_bits(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

bool same_values(const Grid& a, const Grid& b) {
  if (a.rows != b.rows || a.cols != b.cols) return false;
  for (int64_t row = 0; row < a.rows; ++row) {
    if (std::memcmp(a.row_data(row), b.row_data(row), static_cast<size_t>(a.cols) * sizeof(float)) != 0) return false;
  }
  return true;
}

TEST(AtlasSums, AddedStepByStepTheyAreThoseOfTheWholeRun) {
  GrowingRun growing({.layers = 3, .q_heads = 4, .kv_heads = 2, .layers_per_cache = 2, .spread = 2});
  AtlasSums sums;
  for (const int64_t step : {1, 1, 3, 200, 1, 0, 7}) {
    if (step > 0) growing.append(step);
    const auto run = growing.snapshot();
    sums.add(*run);
    const AtlasData grown = sums.data(*run), fresh = atlas_data(*run);
    EXPECT_EQ(grown.facts.tokens, run->tokens());
    EXPECT_EQ(grown.bin, run->layers[0].thumbnails->bin);
    ASSERT_EQ(grown.layers.size(), 3u);
    EXPECT_EQ(grown.layers[1].kv_owner, 0);
    for (size_t layer = 0; layer < 3; ++layer) {
      for (size_t head = 0; head < 4; ++head) {
        const AtlasHead &a = grown.layers[layer].heads[head], &b = fresh.layers[layer].heads[head];
        ASSERT_TRUE(same_bits(a.entropy_nats, b.entropy_nats) && same_bits(a.distance_tokens, b.distance_tokens) &&
                    same_bits(a.sink, b.sink) && same_bits(a.max, b.max) && same_bits(a.window, b.window));
        ASSERT_TRUE(same_values(a.map, b.map));
      }
    }
  }
}

TEST(AtlasSums, TheyAreMeansOverAllRowsButTheFirst) {
  GrowingRun growing({.layers = 2, .q_heads = 3, .kv_heads = 3});
  for (const int64_t tokens : {1, 2, 150}) {
    growing.append(tokens - growing.tokens());
    const auto run = growing.snapshot();
    const AtlasData data = atlas_data(*run);
    for (size_t layer = 0; layer < 2; ++layer) {
      for (int64_t head = 0; head < 3; ++head) {
        const auto mean = [&](Statistic which) {
          double sum = 0;
          for (int64_t token = tokens > 1 ? 1 : 0; token < tokens; ++token) {
            sum += run->layers[layer].statistic(which, token, head, 3);
          }
          return sum / static_cast<double>(std::max<int64_t>(1, tokens - 1));
        };
        const AtlasHead& shown = data.layers[layer].heads[static_cast<size_t>(head)];
        EXPECT_DOUBLE_EQ(shown.entropy_nats, mean(Statistic::entropy));
        EXPECT_DOUBLE_EQ(shown.distance_tokens, mean(Statistic::distance));
        EXPECT_DOUBLE_EQ(shown.sink, mean(Statistic::sink));
        EXPECT_DOUBLE_EQ(shown.max, mean(Statistic::max));
        EXPECT_DOUBLE_EQ(shown.window, mean(Statistic::window));
      }
    }
  }
}

TEST(AtlasSums, ARowThatIsNoNumberMakesTheMeanNone) {
  GrowingRun growing({.q_heads = 2});
  growing.append(10);
  auto run = std::make_shared<RunSnapshot>(*growing.snapshot());
  const RowsView before = run->layers[0].statistics;
  auto spoilt =
      std::make_shared<RowBuffer>(std::make_shared<MemoryLedger>(), MemoryPurpose::viewer, 10, before.width());
  auto* numbers = reinterpret_cast<float*>(spoilt->row(0));
  std::copy_n(before.row(0), 10 * before.width(), numbers);
  numbers[4 * before.width() + static_cast<int64_t>(Statistic::distance) * 2 + 1] =
      std::numeric_limits<float>::quiet_NaN();
  run->layers[0].statistics = {spoilt, 10};
  const AtlasData data = atlas_data(*run);
  EXPECT_TRUE(std::isnan(data.layers[0].heads[1].distance_tokens));
  EXPECT_FALSE(std::isnan(data.layers[0].heads[0].distance_tokens));
  EXPECT_FALSE(std::isnan(data.layers[0].heads[1].entropy_nats));
}

TEST(AtlasSums, ThumbnailsAreSharedAndKeptAlive) {
  GrowingRun growing({.q_heads = 3, .kv_heads = 3, .expected_tokens = 200});
  growing.append(100);
  auto run = growing.snapshot();
  const std::weak_ptr<const ThumbnailGrid> grid = run->layers[0].thumbnails;
  const float* values = run->layers[0].thumbnails->max.data();
  Grid map = atlas_data(*run).layers[0].heads[2].map;
  EXPECT_EQ(map.rows, 25);  // 100 tokens in cells of 4
  EXPECT_EQ(map.row_data(3), values + (2 * 64 + 3) * 64);
  run.reset();
  growing.append(1);  // replaces the run's own
  EXPECT_FALSE(grid.expired());
  map = {};
  EXPECT_TRUE(grid.expired());
}

TEST(AtlasSums, OnlyOneRunThatGrows) {
  GrowingRun growing({});
  growing.append(5);
  const auto early = growing.snapshot();
  growing.append(5);
  AtlasSums sums;
  sums.add(*growing.snapshot());
  EXPECT_THROW(sums.add(*early), std::logic_error);
  EXPECT_THROW(sums.data(*early), std::logic_error);
}

TEST(MapRegion, WholeMapsHaveTheFewestTokensACell) {
  EXPECT_EQ(map_region({2, 3}, 60, 736), (MapRegion{2, 3, 0, 60, 0, 60, 1}));
  EXPECT_EQ(map_region({}, 736, 736).bin, 1);
  EXPECT_EQ(map_region({}, 737, 736).bin, 2);
  EXPECT_EQ(map_region({}, 2048, 736), (MapRegion{0, 0, 0, 2048, 0, 2048, 4}));  // three tokens would do
  EXPECT_EQ(map_region({}, 20000, 736).bin, 32);
  EXPECT_EQ(map_region({}, 7, 0).bin, 8);
}

TEST(MapRegion, WindowsAreCutToTheRunAndOutwardsToCells) {
  EXPECT_EQ(map_region({0, 0, 10, 30, 50, 1000}, 60, 500), (MapRegion{0, 0, 10, 30, 50, 60, 1}));
  EXPECT_EQ(map_region({0, 0, 100, 900, 0, 200}, 1000, 300), (MapRegion{0, 0, 100, 900, 0, 200, 4}));
  EXPECT_EQ(map_region({0, 0, 101, 999, 3, 1000}, 1000, 300), (MapRegion{0, 0, 100, 1000, 0, 1000, 4}));
  EXPECT_EQ(map_region({0, 0, 70, 80, 5, 3}, 60, 500), (MapRegion{0, 0, 59, 60, 5, 6, 1}));
  EXPECT_EQ(map_region({0, 0, 40, 0, 40, 0}, 60, 500), (MapRegion{0, 0, 0, 60, 0, 60, 1}));  // an end of 0: all
}

TEST(MapRegion, AnyWindowGivesARegionThatStoresAndViewsTake) {
  GrowingRun growing({.q_heads = 1});
  growing.append(300);
  const auto run = growing.snapshot();
  TileStore store(1, size_t{1} << 24, {});
  const TextMeasurer text;
  std::mt19937 random(5);
  for (int i = 0; i < 200; ++i) {
    const auto any = [&] { return static_cast<int64_t>(random() % 330) - 10; };
    MapState state;
    state.row_begin = std::max<int64_t>(0, any()), state.row_end = std::max<int64_t>(0, any());
    state.key_begin = std::max<int64_t>(0, any()), state.key_end = std::max<int64_t>(0, any());
    const int64_t cells = 1 + static_cast<int64_t>(random() % 400);
    const MapRegion region =
        map_region({0, 0, state.row_begin, state.row_end, state.key_begin, state.key_end}, 300, cells);
    EXPECT_LE(std::max(region.rows(), region.columns()), cells + 1);
    const MapData data = map_data(run, region, store.region(run, 1, region));
    EXPECT_NO_THROW(map(data, state, {}, {600, 400, 1, text}));
  }
}

TEST(MapData, OfTheStoreIsThatOfTheCommandLine) {
  GrowingRun growing({.layers = 2, .q_heads = 4, .kv_heads = 2, .layers_per_cache = 2});
  growing.append(120);
  const auto run = growing.snapshot();
  TileStore store(1, size_t{1} << 24, {});
  // 120 tokens in at most 30 cells are 4 a cell either way.
  for (const MapWindow& window : {MapWindow{1, 3}, MapWindow{1, 3, 40, 100, 8, 120}}) {
    const MapRegion region = map_region(window, 120, 30);
    store.region(run, 1, region);
    store.drain();
    const MapData composed = map_data(run, region, store.region(run, 1, region));
    const MapData whole = map_data(*run, window, 30, SerialFor());
    EXPECT_EQ(composed.bin, 4);
    EXPECT_EQ(whole.bin, 4);
    EXPECT_TRUE(same_values(composed.cells, whole.cells));
    EXPECT_EQ(composed.row_entropy_nats, whole.row_entropy_nats);
    EXPECT_EQ(composed.row_entropy_nats.front(), run->layers[1].statistic(Statistic::entropy, region.row_begin, 3, 4));
    EXPECT_EQ(composed.pieces.size(), 120u);
    EXPECT_EQ(&composed.pieces[7], &run->pieces[7]) << "texts are shared";
    EXPECT_EQ(whole.pieces[7], " 7");
    const auto facts = [](const MapData& d) {
      return std::vector<int64_t>{d.layer,     d.head,    d.kv_head,   d.group_size, d.kv_owner,
                                  d.row_begin, d.row_end, d.key_begin, d.key_end,    d.facts.tokens};
    };
    EXPECT_EQ(facts(composed), facts(whole));
    EXPECT_EQ(composed.kv_head, 1);
    EXPECT_EQ(composed.kv_owner, 0);
  }
  // The command line takes any number of tokens a cell.
  EXPECT_EQ(map_data(*run, {0, 0}, 50, SerialFor()).bin, 3);
}

TEST(KvData, HasTheMeasuredBytes) {
  GrowingRun growing({.layers = 2, .q_heads = 4, .kv_heads = 2, .key_dim = 8});
  growing.append(20);
  const auto run = growing.snapshot();
  const KvData data = kv_data(*run);
  ASSERT_EQ(data.layers.size(), 2u);
  EXPECT_EQ(data.layers[1].used, 20u * 2 * 2 * 8 * 4);
  EXPECT_EQ(data.layers[1].allocated, static_cast<uint64_t>(run->stores[1].allocated_bytes));
  EXPECT_EQ(data.allocated_history.size(), 20u);
  EXPECT_EQ(data.as_mha_bytes, 20u * 2 * 4 * 2 * 8 * 4);
  EXPECT_EQ(data.as_mqa_bytes, 20u * 2 * 1 * 2 * 8 * 4);

  // Heads without a latent would have keys as wide as their values, 7.
  auto mla = std::make_shared<Architecture>(*run->architecture);
  for (Layer& layer : mla->layers) layer.mla = Mla{.query_rank = 0, .content_dim = 3, .value_dim = 7};
  for (KvStore& store : mla->kv_stores) store.value_dim = 6;
  RunSnapshot latent = *run;
  latent.architecture = mla;
  EXPECT_EQ(kv_data(latent).as_mha_bytes, 20u * 2 * 4 * (7 + 7) * 4);

  auto windowed = std::make_shared<Architecture>(*run->architecture);
  windowed->layers[1].window = 7;
  RunSnapshot sliding = *run;
  sliding.architecture = windowed;
  EXPECT_EQ(kv_data(sliding).as_mha_bytes, (20u + 7u) * 4 * 2 * 8 * 4);
  EXPECT_EQ(kv_data(sliding).as_mqa_bytes, (20u + 7u) * 1 * 2 * 8 * 4);
}

}  // namespace
}  // namespace headscope
