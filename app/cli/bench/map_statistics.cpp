// Statistics of whole maps once the log-sum-exps are known: weight by key, weight by distance, pooled grids.
#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "app/cli/bench/attention_data.h"
#include "app/cli/bench/library_maps.h"
#include "core/base/text.h"
#include "core/model/torch_workers.h"

namespace headscope::cli::bench {
namespace {

constexpr double tolerance = 1e-4;
constexpr double half_tolerance = 1e-3;  ///< cells are f16: where both round apart, they differ by 2^-11

struct Wanted {
  int64_t cells = 0;       ///< of a side of the grid
  bool distances = false;  ///< the histogram
  bool largest = false;    ///< maxima of cells beside means
  int64_t layers = 1;
};

/// Results of one layer; each layer writes over those of the one before.
struct Results {
  Results(const AttentionShape& shape, const Wanted& wanted)
      : buckets(distance_bucket(shape.kv_len - 1) + 1),
        mass(at::empty({shape.q_heads, shape.kv_len})),
        mean(at::zeros({shape.q_heads, wanted.cells, wanted.cells}, at::kHalf)),
        histogram(at::empty({shape.q_heads, buckets})) {
    if (wanted.largest) largest = at::zeros_like(mean);
  }

  int64_t buckets;
  at::Tensor mass;           ///< [heads, keys]
  at::Tensor mean, largest;  ///< [heads, cells, cells]
  at::Tensor histogram;      ///< [heads, buckets]
};

/// Layers of equal queries and keys: what a layer writes drives them out of the caches, as other layers' would.
class KernelMaps {
 public:
  KernelMaps(const AttentionKernel& kernel, const AttentionData& data, const KernelForward& forward,
             const Wanted& wanted)
      : results(data.shape, wanted),
        kernel_(kernel),
        problem_(data.problem()),
        forward_(forward),
        layers_(wanted.layers),
        statistics_(statistics(data.shape, wanted)),
        workspace_(kernel.map_statistics_workspace(problem_, statistics_, TorchWorkers().workers())) {}

  double run(std::stop_token stop) {
    return seconds_of([&] {
      for (int64_t layer = 0; layer < layers_; ++layer) {
        kernel_.map_statistics(problem_, forward_.row_max.const_data_ptr<float>(),
                               forward_.log_sum.const_data_ptr<float>(), statistics_, workspace_.span(), TorchWorkers(),
                               stop);
      }
    });
  }

  Results results;

 private:
  MapStatistics statistics(const AttentionShape& shape, const Wanted& wanted) const {
    MapStatistics out;
    out.column_mass = results.mass.data_ptr<float>();
    out.grid_mean = static_cast<uint16_t*>(results.mean.data_ptr());
    if (wanted.largest) out.grid_max = static_cast<uint16_t*>(results.largest.data_ptr());
    out.cells = wanted.cells;
    out.bin = (shape.kv_len + wanted.cells - 1) / wanted.cells;
    if (wanted.distances) {
      out.distance_histogram = results.histogram.data_ptr<float>();
      out.distance_buckets = results.buckets;
    }
    return out;
  }

  const AttentionKernel& kernel_;
  const AttentionProblem problem_;
  const KernelForward& forward_;
  const int64_t layers_;
  const MapStatistics statistics_;
  Workspace workspace_;
};

/// The same by baddbmm, exp, sums and pooling over blocks that stay in the caches. Needs whole cells.
class LibraryMapStatistics {
 public:
  LibraryMapStatistics(const LibraryMaps& maps, const AttentionShape& shape, const Wanted& wanted)
      : results(shape, wanted), maps_(maps), wanted_(wanted), bin_(maps.tokens / wanted.cells) {
    std::vector<int64_t> bucket;  // of the distances tokens - 1, ..., 0
    for (int64_t distance = maps.tokens - 1; distance > 0; --distance) {
      bucket.push_back(1 + static_cast<int64_t>(std::floor(std::log2(static_cast<double>(distance)))));
    }
    bucket.push_back(0);
    buckets_ = at::one_hot(at::tensor(bucket), results.buckets).to(at::kFloat);
    by_distance_ = at::empty({maps.heads, maps.tokens});
  }

  double run(std::stop_token stop) {
    return seconds_of([&] {
      for (int64_t layer = 0; layer < wanted_.layers && !stop.stop_requested(); ++layer) one_layer();
    });
  }

  Results results;

 private:
  static constexpr int64_t block_heads = 8, block_rows = 64;

  void one_layer() {
    results.mass.zero_();
    by_distance_.zero_();
    for (int64_t head = 0; head < maps_.heads; head += block_heads) {
      for (int64_t row = 0; row < maps_.tokens; row += block_rows) {
        add({head, std::min(block_heads, maps_.heads - head), row, std::min(block_rows, maps_.tokens - row)});
      }
    }
    if (wanted_.distances) results.histogram = at::matmul(by_distance_, buckets_);
  }

  void add(const LibraryMaps::Block& block) {
    const at::Tensor weights = maps_.weights(block);
    const auto mine = [&](const at::Tensor& all) { return all.narrow(0, block.head, block.heads); };
    mine(results.mass).narrow(1, 0, block.keys()).add_(weights.sum(1));
    const auto cells = [&](const at::Tensor& grid) {
      return mine(grid).narrow(1, block.row / bin_, block.rows / bin_).narrow(2, 0, block.keys() / bin_);
    };
    const auto pools = [&] { return weights.view({block.heads, block.rows / bin_, bin_, -1, bin_}); };
    cells(results.mean).copy_(bin_ == 1 ? weights : pools().mean(2).mean(3));
    if (wanted_.largest) cells(results.largest).copy_(pools().amax(2).amax(3));
    if (wanted_.distances) add_distances(block, weights);
  }

  /// With as many zeros in front of each row as there are rows, every diagonal is a column of rows one number longer.
  void add_distances(const LibraryMaps::Block& block, const at::Tensor& weights) {
    const int64_t width = block.rows + block.keys();
    const at::Tensor padded = at::constant_pad_nd(weights, {block.rows, 0});
    const at::Tensor diagonals =
        padded.as_strided({block.heads, block.rows, block.keys()}, {block.rows * width, width + 1, 1}, 1);
    by_distance_.narrow(0, block.head, block.heads)
        .narrow(1, maps_.tokens - block.keys(), block.keys())
        .add_(diagonals.sum(1));
  }

  const LibraryMaps& maps_;
  const Wanted wanted_;
  const int64_t bin_;
  at::Tensor buckets_;      ///< [tokens, buckets]: which bucket a distance falls into, the longest distance first
  at::Tensor by_distance_;  ///< [heads, tokens], the longest first
};

std::vector<Difference> compare(const Results& ours, const Results& theirs, const Wanted& wanted) {
  std::vector<Difference> out = {require_equal("column mass", numbers(ours.mass), numbers(theirs.mass), tolerance)};
  const auto add = [&](const char* what, const at::Tensor& a, const at::Tensor& b, double allowed) {
    out.push_back(require_equal(what, numbers(a.to(at::kFloat)), numbers(b.to(at::kFloat)), allowed));
  };
  add("means of cells", ours.mean, theirs.mean, half_tolerance);
  if (wanted.largest) add("maxima of cells", ours.largest, theirs.largest, half_tolerance);
  if (wanted.distances) add("distances", ours.histogram, theirs.histogram, tolerance);
  return out;
}

/// The floor is the products and one exponential for each key that a row sees. Adding up and writing come on top.
Floor floor_of(const Bench& bench, const AttentionShape& shape, int64_t layers) {
  const double places = shape.places() * static_cast<double>(layers);
  return bench.floor({{"fma", places * 2 * static_cast<double>(shape.key_dim)}, {"exp", places}});
}

void statistics(Bench& bench, const AttentionKernel& kernel, const AttentionData& data, const KernelForward& forward,
                const LibraryMaps& maps, const Wanted& wanted) {
  const std::stop_token stop = bench.setting().progress.stop;
  KernelMaps ours(kernel, data, forward, wanted);
  LibraryMapStatistics theirs(maps, data.shape, wanted);
  const std::string grid = fmt::format("{0} x {0} cells", format_count(static_cast<uint64_t>(wanted.cells)));
  bench.hold({data.shape.text(),
              {{std::string(kernel.name), [&] { return ours.run(stop); }, ""},
               {"baddbmm, exp, pooling", [&] { return theirs.run(stop); }, "aten::baddbmm"}},
              {{fmt::format("column mass, {}{}", wanted.distances ? "distances, " : "", grid), 0, 1,
                floor_of(bench, data.shape, wanted.layers), [&] {
                  bench.setting().progress.check();  // what was stopped is half filled
                  return compare(ours.results, theirs.results, wanted);
                }}}});
}

}  // namespace

void bench_map_statistics(Bench& bench) {
  const Setting& setting = bench.setting();
  at::Generator random = seeded_generator(setting.seed);
  const int64_t tokens = setting.length(1024), layers = setting.tiny ? 2 : 32;
  const AttentionData data({fmt::format("{} layers", layers), 32, 32, tokens, tokens, 64, 64}, random);
  const LibraryMaps maps(data);
  for (const AttentionKernel& kernel : setting.kernels) {
    KernelForward forward(kernel, data, false);
    forward.run();
    for (const Wanted& wanted : {Wanted{tokens, false, false, layers}, Wanted{32, true, true, layers}}) {
      statistics(bench, kernel, data, forward, maps, wanted);
    }
  }
}

}  // namespace headscope::cli::bench
