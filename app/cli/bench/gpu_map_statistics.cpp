// Statistics of the maps of all heads of a layer once the log-sum-exps are known: weight by key, weight by distance,
// pooled grids.
#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "app/cli/bench/gpu_maps.h"

namespace headscope::cli::bench {
namespace {

constexpr double tolerance = 1e-3;      ///< of f32 products; cells are f16, which may round apart by 2^-11
constexpr double bf16_tolerance = 0.1;  ///< the library's products round scores to 8 bits

struct Results {
  at::Tensor mass, mean, largest, histogram;  ///< [heads, keys], [heads, cells, cells] twice, [heads, buckets]
};

class OurStatistics {
 public:
  OurStatistics(const Gpu& gpu, const GpuForward& forward) : gpu_(gpu), forward_(forward) {
    const AttentionProblem& p = forward.problem;
    const auto options = forward.row_max.options();
    wanted_.distance_buckets = distance_bucket(p.kv_len - 1) + 1;
    wanted_.bin = (p.kv_len + wanted_.cells - 1) / wanted_.cells;
    results = {at::empty({p.q_heads, p.kv_len}, options),
               at::empty({p.q_heads, wanted_.cells, wanted_.cells}, options.dtype(at::kHalf)),
               at::empty({p.q_heads, wanted_.cells, wanted_.cells}, options.dtype(at::kHalf)),
               at::empty({p.q_heads, wanted_.distance_buckets}, options)};
    wanted_.column_mass = results.mass.data_ptr<float>();
    wanted_.grid_mean = static_cast<uint16_t*>(results.mean.data_ptr());
    wanted_.grid_max = static_cast<uint16_t*>(results.largest.data_ptr());
    wanted_.distance_histogram = results.histogram.data_ptr<float>();
    workspace_.emplace(gpu.kernel.map_statistics_workspace(p, wanted_, 1), *gpu.device);
  }

  double run(std::stop_token stop) {
    return gpu_.seconds([&] {
      gpu_.kernel.map_statistics(forward_.problem, forward_.row_max.const_data_ptr<float>(),
                                 forward_.log_sum.const_data_ptr<float>(), wanted_, workspace_->span(), SerialFor(),
                                 stop);
    });
  }

  Results results;

 private:
  const Gpu& gpu_;
  const GpuForward& forward_;
  MapStatistics wanted_;
  std::optional<Workspace> workspace_;
};

/// The same by bmm, exp, sums and pooling, a block of rows of all heads at once. Needs whole cells.
class TheirStatistics {
 public:
  TheirStatistics(const Gpu& gpu, const GpuMaps& maps, const Results& like) : gpu_(gpu), maps_(maps) {
    results = {at::empty_like(like.mass), at::zeros_like(like.mean), at::zeros_like(like.largest),
               at::empty_like(like.histogram)};
    bin_ = maps.tokens / like.mean.size(1);
    const at::Tensor distance = at::arange(maps.tokens - 1, -1, -1, like.mass.options().dtype(at::kDouble));
    const at::Tensor bucket = at::where(distance > 0, distance.log2().floor() + 1, 0).to(at::kLong);
    buckets_ = at::one_hot(bucket, like.histogram.size(1)).to(at::kFloat);
  }

  double run(std::stop_token stop) {
    return gpu_.seconds([&] {
      results.mass.zero_();
      at::Tensor by_distance = at::zeros_like(results.mass);  // the longest first
      const int64_t block = bin_ * std::max<int64_t>(1, 256 / bin_);
      for (int64_t row = 0; row < maps_.tokens && !stop.stop_requested(); row += block) {
        add(row, std::min(block, maps_.tokens - row), by_distance);
      }
      results.histogram = at::matmul(by_distance, buckets_);
    });
  }

  Results results;

 private:
  void add(int64_t row, int64_t rows, at::Tensor& by_distance) {
    const at::Tensor weights = maps_.weights(row, rows);
    const int64_t keys = row + rows, width = rows + keys, cells = keys / bin_;
    results.mass.narrow(1, 0, keys).add_(weights.sum(1));
    const at::Tensor pools = weights.view({maps_.heads, rows / bin_, bin_, cells, bin_});
    const auto part = [&](const at::Tensor& grid) {
      return grid.narrow(1, row / bin_, rows / bin_).narrow(2, 0, cells);
    };
    part(results.mean).copy_(pools.mean({2, 4}));
    part(results.largest).copy_(pools.amax({2, 4}));
    // With as many zeros in front of each row as there are rows, every diagonal is a column of rows one longer.
    const at::Tensor padded = at::constant_pad_nd(weights, {rows, 0});
    const at::Tensor diagonals = padded.as_strided({maps_.heads, rows, keys}, {rows * width, width + 1, 1}, 1);
    by_distance.narrow(1, maps_.tokens - keys, keys).add_(diagonals.sum(1));
  }

  const Gpu& gpu_;
  const GpuMaps& maps_;
  int64_t bin_ = 1;
  at::Tensor buckets_;  ///< [tokens, buckets]: which bucket a distance falls into, the longest distance first
};

std::vector<Difference> compare(const Results& ours, const Results& theirs, double allowed) {
  return {require_same("column mass", ours.mass, theirs.mass, allowed),
          require_same("means of cells", ours.mean, theirs.mean, allowed),
          require_same("maxima of cells", ours.largest, theirs.largest, allowed),
          require_same("distances", ours.histogram, theirs.histogram, allowed)};
}

}  // namespace

void bench_gpu_map_statistics(Bench& bench) {
  const Setting& setting = bench.setting();
  const Gpu& gpu = *setting.gpu;
  at::manual_seed(setting.seed);
  const int64_t tokens = setting.length(4096), heads = setting.tiny ? 2 : 32;
  const GpuData data({"MHA", heads, heads, tokens, tokens, 128, 128}, 1, gpu);
  GpuForward forward(gpu, data.problem(), false);
  forward.run();
  const at::Tensor lse = forward.row_max + forward.log_sum;
  const GpuMaps rounded(data, lse, at::kBFloat16), exact(data, lse, at::kFloat);
  OurStatistics ours(gpu, forward);
  TheirStatistics fast(gpu, rounded, ours.results), right(gpu, exact, ours.results);
  const std::stop_token stop = setting.progress.stop;
  const auto compared = [&](const TheirStatistics& theirs, double allowed) {
    setting.progress.check();  // what was stopped is half filled
    return compare(ours.results, theirs.results, allowed);
  };
  const Floor floor = bench.floor({{"mma", data.shape.places() * 2 * static_cast<double>(data.shape.key_dim)}});
  const char* what = "column mass, distances, grids";
  bench.hold(
      {data.shape.text() + ", bf16",
       {{std::string(gpu.kernel.name), [&] { return ours.run(stop); }, ""},
        {"bmm of bf16, exp, pooling", [&] { return fast.run(stop); }, "aten::bmm"},
        {"bmm of f32, exp, pooling", [&] { return right.run(stop); }, "aten::bmm"}},
       {{what,
         0,
         1,
         floor,
         [&] { return compared(fast, bf16_tolerance); },
         "theirs rounds scores to bf16",
         {},
         Target{Target::Of::ratio, 1.0 / 3}},
        {what, 0, 2, floor, [&] { return compared(right, tolerance); }, "", {}, Target{Target::Of::share, 1 / 2.1}}}});
}

}  // namespace headscope::cli::bench
