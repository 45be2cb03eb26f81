// Tiles of 512 x 512 cells of a 131,072-token map, from the call to the cells in the host's memory.
#include <algorithm>

#include <ATen/ATen.h>

#include "app/cli/bench/gpu_data.h"
#include "core/base/text.h"

namespace headscope::cli::bench {
namespace {

constexpr double tolerance = 1e-3;
constexpr int64_t most_scores = int64_t{1} << 26;  ///< of the library's blocks: 256 MiB

class GpuTile {
 public:
  GpuTile(const Gpu& gpu, const GpuForward& forward, const TileRequest& request)
      : cells(gpu.host_memory({request.rows(), request.columns()})),
        gpu_(gpu),
        forward_(forward),
        request_(request),
        made_(at::empty(cells.sizes(), forward.row_max.options())),
        workspace_(gpu.kernel.tiles_workspace(forward.problem, {&request_, 1}, 1), *gpu.device) {}

  /// By the host's clock: copying waits for the kernels.
  double run(std::stop_token stop) {
    float* const target = made_.data_ptr<float>();
    return seconds_of([&] {
      gpu_.kernel.tiles(forward_.problem, forward_.row_max.const_data_ptr<float>(),
                        forward_.log_sum.const_data_ptr<float>(), {&request_, 1}, {&target, 1}, workspace_.span(),
                        SerialFor(), stop);
      gpu_.device->copy(cells.data_ptr(), target, cells.nbytes());
    });
  }

  at::Tensor cells;  ///< of the host

 private:
  const Gpu& gpu_;
  const GpuForward& forward_;
  const TileRequest request_;
  at::Tensor made_;
  Workspace workspace_;
};

/// Products of f32, exponentials and pooling, some rows of cells after others; with the copy to the host.
class LibraryGpuTile {
 public:
  LibraryGpuTile(const Gpu& gpu, const GpuData& data, const GpuForward& forward, const TileRequest& request)
      : cells(gpu.host_memory({request.rows(), request.columns()})),
        q_(data.q[0][0].to(at::kFloat)),
        k_(data.k[0][0].to(at::kFloat).narrow(0, request.key_begin, request.columns() * request.bin)),
        minus_lse_((forward.row_max + forward.log_sum).view({-1, 1}).neg()),
        scale_(data.scale()),
        request_(request) {}

  double run(std::stop_token stop) {
    const int64_t bin = request_.bin, columns = request_.columns();
    const int64_t block = std::clamp<int64_t>(most_scores / (columns * bin * bin), 1, request_.rows());
    return seconds_of([&] {
      for (int64_t row = 0; row < request_.rows() && !stop.stop_requested(); row += block) {
        const int64_t rows = std::min(block, request_.rows() - row), first = request_.row_begin + row * bin;
        at::Tensor weights =
            at::addmm(minus_lse_.narrow(0, first, rows * bin), q_.narrow(0, first, rows * bin), k_.t(), 1, scale_)
                .exp_();
        weights.tril_(first - request_.key_begin);
        cells.narrow(0, row, rows).copy_(weights.view({rows, bin, columns, bin}).amax({1, 3}));
      }
    });
  }

  at::Tensor cells;  ///< of the host

 private:
  at::Tensor q_, k_, minus_lse_;
  const double scale_;
  const TileRequest request_;
};

void tile(Bench& bench, const Gpu& gpu, const GpuData& data, const GpuForward& forward, int64_t cells, int64_t bin) {
  const int64_t tokens = data.shape.kv_len;
  TileRequest request;
  request.row_begin = tokens - cells * bin;
  request.row_end = tokens;
  request.key_end = cells * bin;
  request.bin = bin;
  GpuTile ours(gpu, forward, request);
  LibraryGpuTile theirs(gpu, data, forward, request);
  const double rows = static_cast<double>(cells * bin);
  const double places = cells * bin == tokens ? rows * rows / 2 : rows * rows;  // a whole map is half hidden
  const std::stop_token stop = bench.setting().progress.stop;
  bench.hold({fmt::format("{0} x {0} cells of {1} tokens, d {2}, bf16", cells,
                          format_count(static_cast<uint64_t>(tokens)), data.shape.key_dim),
              {{std::string(gpu.kernel.name), [&] { return ours.run(stop); }, ""},
               {"addmm, exp, pooling", [&] { return theirs.run(stop); }, "aten::addmm"}},
              {{fmt::format("maxima of {0} x {0}, in the host's memory", bin),
                0,
                1,
                bench.floor({{"mma", places * 2 * static_cast<double>(data.shape.key_dim)}}),
                [&] {
                  bench.setting().progress.check();  // a stopped tile is half filled
                  return std::vector{require_equal("cells", numbers(ours.cells), numbers(theirs.cells), tolerance)};
                },
                "",
                {},
                Target{Target::Of::seconds, bin == 1 ? 0.2e-3 : 16e-3}}}});
}

}  // namespace

void bench_gpu_tiles(Bench& bench) {
  const Setting& setting = bench.setting();
  const Gpu& gpu = *setting.gpu;
  at::manual_seed(setting.seed);
  const int64_t tokens = setting.tiny ? 1024 : 131'072, cells = tokens / 256;
  const GpuData data({"one head", 1, 1, tokens, tokens, 128, 128}, 1, gpu);
  GpuForward forward(gpu, data.problem(), false);
  forward.run();
  for (const int64_t bin : {1, 8, 64, 256}) {
    if (!setting.quick || bin <= 8) tile(bench, gpu, data, forward, cells, bin);
  }
}

}  // namespace headscope::cli::bench
