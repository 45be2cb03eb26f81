#include "kernels/reference/tiles.h"

#include <algorithm>
#include <cmath>

#include "kernels/reference/known_weight.h"

namespace headscope::reference {
namespace {

size_t cell_row_bytes(std::span<const TileRequest> requests) {
  int64_t columns = 0;
  for (const TileRequest& request : requests) columns = std::max(columns, request.columns());
  return aligned(static_cast<size_t>(columns) * sizeof(double));
}

/// The rows of cells of all requests, counted through.
int64_t cell_rows(std::span<const TileRequest> requests) {
  int64_t rows = 0;
  for (const TileRequest& request : requests) rows += request.rows();
  return rows;
}

class Tiles {
 public:
  Tiles(const AttentionProblem& problem, const InputRows& keys, const float* row_max, const float* log_sum)
      : p_(problem), keys_(keys), row_max_(row_max), log_sum_(log_sum) {}

  /// Fills `cells`, row r of a tile, by way of as many doubles.
  void fill(const TileRequest& request, int64_t r, double* pooled, float* cells, const std::stop_token& stop) const {
    const int64_t columns = request.columns();
    std::fill_n(pooled, columns, 0.0);
    const int64_t begin = request.row_begin + r * request.bin, end = std::min(begin + request.bin, request.row_end);
    for (int64_t row = begin; row < end; ++row) {
      if (stop.stop_requested()) return;
      pool_row(request, {request.batch, request.q_head, row}, pooled);
    }
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t first = request.key_begin + c * request.bin;
      const int64_t width = std::min(request.bin, request.key_end - first);
      const bool mean = request.pooling == Pooling::mean;
      const double places = mean ? static_cast<double>((end - begin) * width) : 1;
      cells[c] = static_cast<float>(pooled[c] / places);
    }
  }

 private:
  /// Adds (mean) or raises (max) the cells by the weights of one query row.
  void pool_row(const TileRequest& request, const Query& query, double* pooled) const {
    for (int64_t j = request.key_begin; j < request.key_end; ++j) {
      if (!is_visible(p_, query, j)) continue;
      const double weight = known_weight(p_, keys_, row_max_, log_sum_, query, j);
      double& cell = pooled[(j - request.key_begin) / request.bin];
      if (request.pooling == Pooling::mean) {
        cell += weight;
      } else if (weight > cell || std::isnan(weight)) {  // a NaN cell stays NaN
        cell = weight;
      }
    }
  }

  const AttentionProblem& p_;
  const InputRows& keys_;
  const float* row_max_;
  const float* log_sum_;
};

}  // namespace

size_t tiles_workspace(const AttentionProblem& p, std::span<const TileRequest> requests, int workers) {
  return rotated_keys_bytes(p) + cell_row_bytes(requests) * static_cast<size_t>(workers);
}

bool tiles(const AttentionProblem& p, const float* row_max, const float* log_sum, std::span<const TileRequest> requests,
           std::span<float* const> cells, std::span<std::byte> workspace, const ParallelFor& parallel,
           std::stop_token stop) {
  const InputRows keys = keys_of(p, workspace.data(), parallel);
  std::byte* scratch = workspace.data() + rotated_keys_bytes(p);
  const size_t worker_bytes = cell_row_bytes(requests);
  const Tiles work(p, keys, row_max, log_sum);
  parallel.run(cell_rows(requests), [&](int64_t row, int worker) {
    size_t i = 0;
    for (; row >= requests[i].rows(); ++i) row -= requests[i].rows();
    auto* pooled = reinterpret_cast<double*>(scratch + static_cast<size_t>(worker) * worker_bytes);
    work.fill(requests[i], row, pooled, cells[i] + row * requests[i].columns(), stop);
  });
  return !stop.stop_requested();
}

}  // namespace headscope::reference
