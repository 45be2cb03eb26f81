// What tiles promise each other and the forward pass, for every kernel.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <iostream>
#include <memory>
#include <thread>

#include "tests/kernels/attention_case.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

CaseSpec map_spec() {
  CaseSpec spec;
  spec.q_heads = 4;
  spec.kv_heads = 2;
  spec.q_len = 230;
  spec.kv_len = 530;
  spec.offset = 300;
  spec.key_dim = 40;
  spec.window = 400;
  spec.soft_cap = 8;
  spec.alibi = true;
  return spec;
}

class Tiles : public ::testing::TestWithParam<AttentionKernel> {
 protected:
  const AttentionKernel& kernel_ = GetParam();
  const AttentionCase case_{map_spec()};
  const ThreadPool pool_{2};
  const Results forward_ = run_forward(kernel_, case_, pool_);

  std::vector<float> tile(const TileRequest& request) const {
    return run_tile(kernel_, case_.problem, forward_, request, pool_);
  }
  TileRequest whole(int64_t bin, Pooling pooling) const { return {0, 3, 0, 230, 0, 530, bin, pooling}; }
};

TEST_P(Tiles, APartIsASliceOfTheMapToTheBit) {
  const std::vector<float> map = tile(whole(1, Pooling::max));
  const TileRequest part{0, 3, 101, 222, 7, 529, 1, Pooling::mean};
  std::vector<float> slice;
  for (int64_t i = part.row_begin; i < part.row_end; ++i) {
    slice.insert(slice.end(), map.begin() + i * 530 + part.key_begin, map.begin() + i * 530 + part.key_end);
  }
  EXPECT_TRUE(same_bits(tile(part), slice));
}

TEST_P(Tiles, APartOfACoarseMapIsASliceToTheBit) {
  for (const Pooling pooling : {Pooling::max, Pooling::mean}) {
    for (const int64_t bin : {3, 8, 20, 70, 265}) {
      const TileRequest all = whole(bin, pooling);
      const TileRequest part{0, 3, bin * (bin < 100 ? 2 : 0), 230, bin, bin * (bin < 100 ? 4 : 2), bin, pooling};
      const std::vector<float> map = tile(all), cells = tile(part);
      std::vector<float> slice;
      for (int64_t r = part.row_begin / bin; r < all.rows(); ++r) {
        const auto from = map.begin() + r * all.columns() + part.key_begin / bin;
        slice.insert(slice.end(), from, from + part.columns());
      }
      EXPECT_TRUE(same_bits(cells, slice)) << "bin " << bin;
    }
  }
}

TEST_P(Tiles, EachZoomIsThePoolOfTheOneBefore) {
  for (const Pooling pooling : {Pooling::max, Pooling::mean}) {
    for (int64_t bin = 2; bin <= 512; bin *= 2) {
      // 512 keys, so that all cells of a row are as wide and means pool without weights, but for the last rows.
      const TileRequest fine{0, 1, 0, 224, 0, 512, bin / 2, pooling}, coarse{0, 1, 0, 224, 0, 512, bin, pooling};
      if (pooling == Pooling::mean && 224 % bin != 0) break;
      const std::vector<float> before = tile(fine);
      std::vector<float> pooled(static_cast<size_t>(coarse.rows() * coarse.columns()));
      for (int64_t i = 0; i < fine.rows() * fine.columns(); ++i) {
        const int64_t r = i / fine.columns() / 2, c = i % fine.columns() / 2;
        float& cell = pooled[static_cast<size_t>(r * coarse.columns() + c)];
        const float weight = before[static_cast<size_t>(i)];
        cell = pooling == Pooling::max ? std::max(cell, weight) : cell + weight / 4;
      }
      if (pooling == Pooling::max) {
        EXPECT_TRUE(same_bits(tile(coarse), pooled)) << "bin " << bin;
      } else {
        EXPECT_TRUE(all_near(tile(coarse), pooled, 1e-7)) << "bin " << bin;
      }
    }
  }
}

TEST_P(Tiles, ABatchGivesTheBitsOfSingleTiles) {
  const std::vector<TileRequest> requests = {{0, 3, 0, 230, 0, 530, 1, Pooling::max},
                                             {0, 0, 100, 101, 20, 29, 1, Pooling::mean},
                                             {0, 2, 0, 230, 0, 530, 16, Pooling::mean},
                                             {0, 1, 5, 225, 9, 500, 300, Pooling::max},
                                             {0, 2, 7, 207, 0, 530, 7, Pooling::max}};
  std::vector<std::unique_ptr<Guarded<float>>> memory;
  std::vector<float*> cells;
  for (const TileRequest& request : requests) {
    memory.push_back(std::make_unique<Guarded<float>>(static_cast<size_t>(request.rows() * request.columns())));
    cells.push_back(memory.back()->data());
  }
  Guarded<std::byte> workspace(kernel_.tiles_workspace(case_.problem, requests, pool_.workers()));
  EXPECT_TRUE(kernel_.tiles(case_.problem, forward_.row_max.data(), forward_.log_sum.data(), requests, cells,
                            workspace.span(), pool_, {}));
  EXPECT_TRUE(workspace.intact());
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(memory[i]->intact());
    EXPECT_TRUE(same_bits(std::vector<float>(cells[i], cells[i] + memory[i]->size()), tile(requests[i]))) << i;
  }
}

TEST_P(Tiles, NoRequestsAreNoWork) {
  Guarded<std::byte> workspace(kernel_.tiles_workspace(case_.problem, {}, 1));
  EXPECT_TRUE(kernel_.tiles(case_.problem, nullptr, nullptr, {}, {}, workspace.span(), SerialFor(), {}));
}

TEST_P(Tiles, WorkersDoNotChangeABit) {
  for (const int64_t bin : {1, 5, 100}) {
    const TileRequest request = whole(bin, Pooling::mean);
    const std::vector<float> expected = tile(request);
    for (const int workers : {1, 3, 7}) {
      const ThreadPool pool(workers);
      EXPECT_TRUE(same_bits(run_tile(kernel_, case_.problem, forward_, request, pool), expected)) << workers;
    }
  }
}

TEST_P(Tiles, ACoarseMaximumIsThePoolOfTheFineToTheBit) {
  const std::vector<float> map = tile(whole(1, Pooling::max));
  for (const int64_t bin : {2, 7, 64, 128, 1000}) {
    const TileRequest request = whole(bin, Pooling::max);
    std::vector<float> pooled(static_cast<size_t>(request.rows() * request.columns()));
    for (int64_t i = 0; i < 230; ++i) {
      for (int64_t j = 0; j < 530; ++j) {
        float& cell = pooled[static_cast<size_t>(i / bin * request.columns() + j / bin)];
        cell = std::max(cell, map[static_cast<size_t>(i * 530 + j)]);
      }
    }
    EXPECT_TRUE(same_bits(tile(request), pooled)) << "bin " << bin;
  }
}

TEST_P(Tiles, ACoarseMeanIsThePoolOfTheFine) {
  const std::vector<float> map = tile(whole(1, Pooling::mean));
  for (const int64_t bin : {2, 7, 64, 128, 1000}) {
    const TileRequest request = whole(bin, Pooling::mean);
    std::vector<double> sums(static_cast<size_t>(request.rows() * request.columns())), places(sums.size());
    for (int64_t i = 0; i < 230; ++i) {
      for (int64_t j = 0; j < 530; ++j) {
        const auto cell = static_cast<size_t>(i / bin * request.columns() + j / bin);
        sums[cell] += double{map[static_cast<size_t>(i * 530 + j)]};
        places[cell] += 1;
      }
    }
    for (size_t i = 0; i < sums.size(); ++i) sums[i] /= places[i];
    EXPECT_TRUE(all_near(tile(request), sums, 1e-7)) << "bin " << bin;
  }
}

TEST_P(Tiles, RowsAddUpToOne) {
  for (const int64_t bin : {1, 3, 64}) {
    const TileRequest request = whole(bin, Pooling::mean);
    const std::vector<float> cells = tile(request);
    for (int64_t r = 0; r < request.rows(); ++r) {
      double sum = 0;
      for (int64_t c = 0; c < request.columns(); ++c) {
        const int64_t width = std::min(bin, 530 - c * bin);
        sum += double{cells[static_cast<size_t>(r * request.columns() + c)]} * static_cast<double>(width);
      }
      EXPECT_TRUE(difference(sum, 1) <= 2e-6) << "row " << r << " of bin " << bin << ": " << sum;
    }
  }
}

TEST_P(Tiles, ThumbnailIsTheMapPooledByMaximum) {
  CaseSpec spec = map_spec();
  spec.offset = 0;
  spec.cells = 16;
  spec.bin = 20;
  const AttentionCase square(spec);
  const Results forward = run_forward(kernel_, square, pool_);
  const TileRequest request{0, 2, 0, 230, 0, 320, 20, Pooling::max};
  const std::vector<float> cells = run_tile(kernel_, square.problem, forward, request, pool_);
  const std::vector<float> thumbnail(forward.thumbnails.begin() + 2 * 256,
                                     forward.thumbnails.begin() + 2 * 256 + 12 * 16);
  EXPECT_TRUE(all_near(thumbnail, cells, 5e-7));
}

/// One head's rows picked out of a longer problem, as the tile lane asks for them.
TEST_P(Tiles, APickedHeadGivesTheSameBits) {
  AttentionProblem one = rows_of(case_.problem, 50, 120);
  one.q_heads = one.kv_heads = 1;
  one.q.data += 3 * one.q.head_stride;
  one.k.data += one.k.head_stride;
  one.v.data += one.v.head_stride;
  one.alibi_slopes += 3;
  Results rows = Results::sized(one, 1);
  std::copy_n(forward_.row_max.begin() + 3 * 230 + 50, 70, rows.row_max.begin());
  std::copy_n(forward_.log_sum.begin() + 3 * 230 + 50, 70, rows.log_sum.begin());
  const TileRequest picked{0, 0, 0, 70, 0, 530, 1, Pooling::max};
  EXPECT_TRUE(same_bits(run_tile(kernel_, one, rows, picked, pool_), tile({0, 3, 50, 120, 0, 530, 1, Pooling::max})));
}

/// Asks for a stop when the second task is due.
class StopAtSecondTask final : public ParallelFor {
 public:
  explicit StopAtSecondTask(std::stop_source& source) : source_(source) {}
  int workers() const override { return 1; }
  void run(int64_t tasks, const std::function<void(int64_t, int)>& body) const override {
    for (int64_t task = 0; task < tasks; ++task) {
      if (task == 1) source_.request_stop();
      body(task, 0);
    }
  }

 private:
  std::stop_source& source_;
};

TEST_P(Tiles, AStopIsSeenBetweenTasks) {
  const TileRequest request = whole(1, Pooling::max);
  Guarded<float> cells(static_cast<size_t>(request.rows() * request.columns()));
  float* first = cells.data();
  Guarded<std::byte> workspace(kernel_.tiles_workspace(case_.problem, {&request, 1}, 1));
  std::stop_source source;
  EXPECT_FALSE(kernel_.tiles(case_.problem, forward_.row_max.data(), forward_.log_sum.data(), {&request, 1},
                             {&first, 1}, workspace.span(), StopAtSecondTask(source), source.get_token()));
  EXPECT_TRUE(cells.untouched(0, 530) || cells.untouched(cells.size() - 530, cells.size())) << "no row was left out";
}

/// Runs one task; once it is about to start, another thread counts `yields` and asks for a stop.
class StopSoonAfterStart final : public ParallelFor {
 public:
  StopSoonAfterStart(std::stop_source& source, int64_t yields) : source_(source), yields_(yields) {}
  int workers() const override { return 1; }
  void run(int64_t tasks, const std::function<void(int64_t, int)>& body) const override {
    ASSERT_EQ(tasks, 1);
    const std::jthread stopper([this] {
      for (int64_t i = 0; i < yields_; ++i) std::this_thread::yield();
      source_.request_stop();
    });
    body(0, 0);
  }

 private:
  std::stop_source& source_;
  int64_t yields_;
};

/// A long tile of one task, whose last row outweighs the others: a kernel that looks at the stop between tasks alone
/// always counts that row. No clock: where a stop falls before or after the task, another try follows.
TEST_P(Tiles, AStopIsSeenInsideATask) {
  CaseSpec spec;
  spec.q_len = spec.kv_len = sanitized() ? 4000 : 8000;
  spec.key_dim = 64;
  const AttentionCase longer(spec);
  const auto rows = static_cast<size_t>(spec.q_len);
  const TileRequest request{0, 0, 0, spec.q_len, 0, spec.kv_len, spec.kv_len, Pooling::max};
  const std::vector<float> row_max(rows);
  std::vector<float> log_sum(rows, 85.0F);
  log_sum.back() = 40;
  constexpr float last_row = 1e-20F;  // the others have at most exp(largest score - 85)
  bool stopped_inside = false;
  for (int64_t yields = 1; yields <= 1 << 16 && !stopped_inside; yields *= 2) {
    Guarded<float> cell(1);
    float* first = cell.data();
    Guarded<std::byte> workspace(kernel_.tiles_workspace(longer.problem, {&request, 1}, 1));
    std::stop_source source;
    const bool done = kernel_.tiles(longer.problem, row_max.data(), log_sum.data(), {&request, 1}, {&first, 1},
                                    workspace.span(), StopSoonAfterStart(source, yields), source.get_token());
    const bool begun = !workspace.untouched(0, workspace.size());
    const bool finished = !cell.untouched(0, 1) && cell[0] > last_row;
    EXPECT_FALSE(done && !finished);
    stopped_inside = begun && !finished;
  }
  EXPECT_TRUE(stopped_inside);
}

/// The whole map of a long prompt: the call has to return soon after another thread asks for it.
TEST_P(Tiles, AStopEndsALongRequestSoon) {
  using Clock = std::chrono::steady_clock;
  constexpr int64_t length = 131072, dim = 64;
  const std::vector<float> rows(static_cast<size_t>(length * dim), 0.1F);
  const std::vector<float> row_max(length), log_sum(length, 50.0F);
  AttentionProblem p;
  p.q_heads = p.kv_heads = 1;
  p.q_len = p.kv_len = length;
  p.key_dim = p.value_dim = dim;
  p.q = p.k = p.v = {rows.data(), 0, 0, dim};
  const TileRequest request{0, 0, 0, length, 0, length, 256, Pooling::mean};
  std::vector<float> cells(512 * 512);
  float* first = cells.data();
  Guarded<std::byte> workspace(kernel_.tiles_workspace(p, {&request, 1}, pool_.workers()));
  std::stop_source source;
  Clock::time_point asked;
  const std::jthread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    asked = Clock::now();
    source.request_stop();
  });
  EXPECT_FALSE(kernel_.tiles(p, row_max.data(), log_sum.data(), {&request, 1}, {&first, 1}, workspace.span(), pool_,
                             source.get_token()));
  const double waited = std::chrono::duration<double, std::milli>(Clock::now() - asked).count();
  RecordProperty("milliseconds_to_stop", std::to_string(waited));
  std::cout << kernel_.name << " stopped after " << waited << " ms\n";
  EXPECT_LE(waited, 500) << "10 ms are promised; more is allowed here for a machine that is busy";
}

INSTANTIATE_TEST_SUITE_P(Kernels, Tiles, ::testing::ValuesIn(attention_kernels()), [](const auto& test) {
  std::string name(test.param.name);
  std::replace(name.begin(), name.end(), '/', '_');
  return name;
});

}  // namespace
}  // namespace headscope::testing
