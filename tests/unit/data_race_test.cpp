#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <mutex>
#include <random>
#include <thread>

#include "core/data/lane.h"
#include "core/data/score.h"
#include "core/data/tile_store.h"
#include "core/data/tiles.h"
#include "core/views/run_data.h"
#include "tests/unit/data_sample.h"

/// What the window's threads share, all at once: meant for the thread sanitizer (scripts/test_sanitized.sh), and right
/// without it. A run lane appends tokens and publishes snapshots; a window takes the newest, asks for maps, atlas and
/// scores, cancels and replaces runs; a second viewer does the same; tiles are computed on their own lane.
namespace headscope {
namespace {

using sample::GrowingRun;
using sample::RunShape;

struct Published {
  uint64_t run_id = 0;
  std::shared_ptr<const RunSnapshot> run;
};

/// The newest snapshot, handed from the run lane to viewers.
class Desk {
 public:
  void put(Published published) {
    const std::lock_guard lock(mutex_);
    newest_ = std::move(published);
  }
  Published take() const {
    const std::lock_guard lock(mutex_);
    return newest_;
  }

 private:
  mutable std::mutex mutex_;
  Published newest_;
};

RunShape shape_of(uint64_t run_id) {
  return {.layers = 2, .q_heads = 2, .key_dim = 8, .window = run_id % 2 == 0 ? 50 : 0, .thumbnail_cells = 16};
}

/// Runs are replaced, grow in steps and are stopped, as by a user in a hurry.
class Runner {
 public:
  explicit Runner(Desk& desk) : desk_(desk) {}
  ~Runner() {
    lane_.cancel_all();
    lane_.drain();
  }

  void start(uint64_t run_id, int steps) {
    lane_.cancel("run");
    lane_.submit("run", [this, run_id, steps](const std::stop_token& stop) {
      GrowingRun growing(shape_of(run_id), run_id);
      growing.append(90);
      for (int step = 0; step < steps && !stop.stop_requested(); ++step) {
        growing.append(1 + step % 3);
        desk_.put({run_id, growing.snapshot()});
      }
    });
  }
  void drain() { lane_.drain(); }

 private:
  Desk& desk_;
  Lane lane_{"run", [] { lower_thread_priority(1); }};
};

class Viewer {
 public:
  Viewer(TileStore& store, int id) : store_(store), id_(id), random_(static_cast<unsigned>(id)) {}

  void look(const Published& now) {
    if (!now.run) return;
    const RunSnapshot& run = *now.run;
    const int64_t tokens = run.tokens(), bin = int64_t{1} << below(3), layer = below(2), head = below(2);
    const int64_t row = below(tokens) / bin * bin, key = below(tokens) / bin * bin;
    const MapRegion region{layer, head, row, tokens, key, tokens, bin};
    const ComposedMap map = store_.region(now.run, now.run_id, region, id_);
    double sum = 0;
    for (const float cell : *map.cells) sum += double{cell};
    EXPECT_TRUE(sum >= 0);
    if (map.exact) {
      ++exact;
      const Tile tile = compute_tile(run, {layer, head, row, tokens, key, tokens, bin}, SerialFor());
      EXPECT_TRUE(tile.cells == *map.cells);
    }
    const int64_t query = below(tokens);
    const ScoredWeight scored = score_and_weight(run, layer, head, query, below(query + 1));
    EXPECT_TRUE(scored.weight >= 0 && scored.weight <= 1 + 1e-5);
    add_up(now);
  }

  int exact = 0;

 private:
  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }

  void add_up(const Published& now) {
    if (now.run_id != summed_run_) sums_ = {};
    summed_run_ = now.run_id;
    sums_.add(*now.run);
    const AtlasData atlas = sums_.data(*now.run);
    float most = 0;
    for (const AtlasHead& head : atlas.layers[0].heads) {
      EXPECT_FALSE(std::isnan(head.entropy_nats));
      for (int64_t r = 0; r < head.map.rows; ++r) most = std::max(most, head.map.at(r, 0));
    }
    EXPECT_GT(most, 0);
  }

  TileStore& store_;
  int id_;
  std::mt19937 random_;
  AtlasSums sums_;
  uint64_t summed_run_ = 0;
};

TEST(RaceTest, AWindowLooksWhileRunsGrowAreStoppedAndReplaced) {
  std::atomic<int> changes = 0;
  Desk desk;
  TileStore store(2, size_t{4} << 20, [&] { ++changes; });
  Runner runner(desk);
  std::jthread second([&](const std::stop_token& stop) {
    Viewer viewer(store, 2);
    while (!stop.stop_requested()) {
      viewer.look(desk.take());
      store.bytes();
    }
  });
  Viewer first(store, 1);
  for (uint64_t run_id = 1; run_id <= 6; ++run_id) {
    runner.start(run_id, 200);
    while (desk.take().run_id != run_id) std::this_thread::yield();
    for (int look = 0; look < 25; ++look) {
      first.look(desk.take());
      if (look % 10 == 9) store.drain();
    }
    store.forget(run_id - 1);
  }
  runner.drain();
  second.request_stop();
  second.join();
  store.drain();

  // In the end all of it is right. On a busy machine the first viewer may have seen no exact map yet.
  const Published last = desk.take();
  for (int look = 0; look < 100 && first.exact == 0; ++look) {
    first.look(last);
    store.drain();
  }
  const MapRegion whole{1, 1, 0, last.run->tokens(), 0, last.run->tokens(), 1};
  store.region(last.run, last.run_id, whole);
  store.drain();
  const ComposedMap map = store.region(last.run, last.run_id, whole);
  EXPECT_TRUE(map.exact);
  EXPECT_GT(first.exact, 0);
  EXPECT_GT(changes, 0);
}

TEST(RaceTest, StoresAndLanesEndInTheMiddleOfTheirWork) {
  GrowingRun growing({.q_heads = 1, .key_dim = 4});
  growing.append(600);
  const auto run = growing.snapshot();
  for (int round = 0; round < 20; ++round) {
    TileStore store(2, size_t{16} << 20, {});
    store.region(run, 1, {0, 0, 0, 600, 0, 600, 1});
    if (round % 3 == 0) store.forget(1);
    if (round % 2 == 0) std::this_thread::yield();
  }
}

TEST(RaceTest, LanesAreUsedFromSeveralThreads) {
  std::atomic<int> ran = 0;
  Lane lane("test");
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 3; ++thread) {
      threads.emplace_back([&, thread] {
        for (int i = 0; i < 200; ++i) {
          lane.submit(
              std::to_string(i % 7), [&](const std::stop_token& stop) { ran += stop.stop_requested() ? 0 : 1; }, i % 3);
          if (i % 5 == thread) lane.cancel(std::to_string(i % 7));
          if (i % 50 == 49) lane.cancel_all();
          (void)lane.idle();
        }
      });
    }
  }
  lane.drain();
  EXPECT_TRUE(lane.idle());
  const int before = ran;
  lane.submit("last", [&](const std::stop_token&) { ++ran; });
  lane.drain();
  EXPECT_EQ(ran, before + 1);
}

}  // namespace
}  // namespace headscope
