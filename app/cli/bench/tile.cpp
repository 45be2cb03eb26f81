// Tiles of 512 x 512 cells of one head's map, recomputed from Q, K and the log-sum-exp.
#include <algorithm>
#include <memory>

#include <ATen/ATen.h>

#include "app/cli/bench/attention_data.h"
#include "core/base/text.h"
#include "core/model/torch_workers.h"

namespace headscope::cli::bench {
namespace {

constexpr double tolerance = 1e-4;

/// The newest rows of one long head's map, with their log-sum-exps. Throws Cancelled between chunks of rows.
struct Head {
  Head(const AttentionKernel& kernel, int64_t tokens, int64_t rows, at::Generator& random, const Progress& progress)
      : data({"one head", 1, 1, rows, tokens, 64, 64}, random), row_max(at::empty(rows)), log_sum(at::empty(rows)) {
    constexpr int64_t chunk = 4096;
    for (int64_t first = 0; first < rows; first += chunk) {
      progress.check();
      forward(kernel, first, std::min(chunk, rows - first));
    }
    minus_lse = (row_max + log_sum).view({rows, 1}).neg();
  }

  AttentionData data;
  at::Tensor row_max, log_sum;  ///< [rows]
  at::Tensor minus_lse;         ///< [rows, 1]

 private:
  void forward(const AttentionKernel& kernel, int64_t first, int64_t count) {
    AttentionProblem problem = data.problem();
    problem.q.data = problem.q.row(0, 0, first);
    problem.q_len = count;
    problem.causal_offset += first;
    AttentionOutput output;
    output.row_max = row_max.data_ptr<float>() + first;
    output.log_sum = log_sum.data_ptr<float>() + first;
    const Workspace workspace(kernel.forward_workspace(problem, output, TorchWorkers().workers()));
    kernel.forward(problem, output, workspace.span(), TorchWorkers());
  }
};

class KernelTile {
 public:
  KernelTile(const AttentionKernel& kernel, const Head& head, const TileRequest& request)
      : cells(at::empty({request.rows(), request.columns()})),
        kernel_(kernel),
        head_(head),
        problem_(head.data.problem()),
        request_(request),
        workspace_(kernel.tiles_workspace(problem_, {&request_, 1}, TorchWorkers().workers())) {}

  double run(std::stop_token stop) {
    return seconds_of([&] {
      float* const target = cells.data_ptr<float>();
      kernel_.tiles(problem_, head_.row_max.const_data_ptr<float>(), head_.log_sum.const_data_ptr<float>(),
                    {&request_, 1}, {&target, 1}, workspace_.span(), TorchWorkers(), stop);
    });
  }

  at::Tensor cells;

 private:
  const AttentionKernel& kernel_;
  const Head& head_;
  const AttentionProblem problem_;
  const TileRequest request_;
  Workspace workspace_;
};

/// Matmul, exp and pooling over blocks whose scores stay in the caches; blocks that a causal mask hides are left out.
class LibraryTile {
 public:
  LibraryTile(const Head& head, const TileRequest& request)
      : cells(at::empty({request.rows(), request.columns()})), head_(head), request_(request) {
    const int64_t most = std::max<int64_t>(1, most_scores / (request.bin * request.bin));
    columns_ = std::min(most, request.columns());
    rows_ = std::max<int64_t>(1, most / columns_);
  }

  double run(std::stop_token stop) {
    return seconds_of([&] {
      for (int64_t row = 0; row < request_.rows() && !stop.stop_requested(); row += rows_) {
        for (int64_t column = 0; column < request_.columns(); column += columns_) {
          block(row, std::min(rows_, request_.rows() - row), column, std::min(columns_, request_.columns() - column));
        }
      }
    });
  }

  at::Tensor cells;

 private:
  static constexpr int64_t most_scores = int64_t{1} << 20;  ///< 4 MiB

  /// Cells [row, row + rows) x [column, column + columns).
  void block(int64_t row, int64_t rows, int64_t column, int64_t columns) {
    const AttentionShape& shape = head_.data.shape;
    const int64_t bin = request_.bin, first = request_.row_begin + row * bin;
    at::Tensor target = cells.narrow(0, row, rows).narrow(1, column, columns);
    const int64_t key = request_.key_begin + column * bin;
    const int64_t diagonal = shape.kv_len - shape.q_len + first - key;  // the last column that the first row sees
    if (diagonal + rows * bin <= 0) {
      target.zero_();
      return;
    }
    const at::Tensor q = head_.data.q[0][0].narrow(0, first, rows * bin);
    const at::Tensor k = head_.data.k[0][0].narrow(0, key, columns * bin);
    at::Tensor weights =
        at::addmm(head_.minus_lse.narrow(0, first, rows * bin), q, k.t(), 1, head_.data.scale()).exp_();
    if (diagonal < columns * bin) weights.tril_(diagonal);
    target.copy_(bin == 1 ? weights : pooled(weights.view({rows, bin, columns, bin})));
  }

  /// Rows first: LibTorch's vectors run along columns.
  at::Tensor pooled(const at::Tensor& blocks) const {
    return request_.pooling == Pooling::max ? blocks.amax(1).amax(2) : blocks.mean(1).mean(2);
  }

  const Head& head_;
  const TileRequest request_;
  int64_t rows_ = 1, columns_ = 1;  ///< cells of a block
};

struct Zoom {
  int64_t bin;
  bool quick;
  const char* name;
};

void tile(Bench& bench, const AttentionKernel& kernel, const Head& head, int64_t cells, const Zoom& zoom,
          Pooling pooling) {
  const AttentionShape& shape = head.data.shape;
  TileRequest request;
  request.row_end = shape.q_len;
  request.row_begin = shape.q_len - cells * zoom.bin;
  request.key_end = cells * zoom.bin;
  request.bin = zoom.bin;
  request.pooling = pooling;
  KernelTile ours(kernel, head, request);
  LibraryTile theirs(head, request);
  const double rows = static_cast<double>(cells * zoom.bin);
  // A whole map is half hidden; other tiles here are far from the diagonal.
  const double places = rows == static_cast<double>(shape.kv_len) ? rows * rows / 2 : rows * rows;
  // Of a maximum one exponential is enough.
  const bool one_a_cell = pooling == Pooling::max && zoom.bin > 1;
  const double exponentials = one_a_cell ? static_cast<double>(cells * cells) : places;
  const Floor floor = bench.floor({{"fma", places * 2 * static_cast<double>(shape.key_dim)}, {"exp", exponentials}});
  const std::stop_token stop = bench.setting().progress.stop;
  bench.hold({fmt::format("{} x {} cells of {} keys, d {}", cells, cells,
                          format_count(static_cast<uint64_t>(shape.kv_len)), shape.key_dim),
              {{std::string(kernel.name), [&] { return ours.run(stop); }, ""},
               {"addmm, exp, pooling", [&] { return theirs.run(stop); }, "aten::addmm"}},
              {{fmt::format("{}, {}", zoom.name, pooling == Pooling::max ? "maximum" : "mean"), 0, 1, floor, [&] {
                  bench.setting().progress.check();  // a stopped tile is half filled
                  return std::vector{require_equal("cells", numbers(ours.cells), numbers(theirs.cells), tolerance)};
                }}}});
}

}  // namespace

void bench_tiles(Bench& bench) {
  const Setting& setting = bench.setting();
  const int64_t tokens = setting.tiny ? 1024 : 131'072, cells = tokens / 256;
  const Zoom zooms[] = {{1, true, "native"},
                        {8, true, "8x out"},
                        {32, false, "32x out"},
                        {64, false, "64x out"},
                        {256, false, "the whole map"}};
  at::Generator random = seeded_generator(setting.seed);
  const bool all = !setting.quick || setting.tiny;
  for (const AttentionKernel& kernel : setting.kernels) {
    setting.progress.step("tile: log-sum-exps", 0);
    // Rows that no tile shows need no log-sum-exp.
    const Head head(kernel, tokens, cells * (all ? 256 : 8), random, setting.progress);
    for (const Zoom& zoom : zooms) {
      if (!zoom.quick && !all) continue;
      tile(bench, kernel, head, cells, zoom, Pooling::max);
      if (zoom.bin == 8) tile(bench, kernel, head, cells, zoom, Pooling::mean);
    }
  }
}

}  // namespace headscope::cli::bench
