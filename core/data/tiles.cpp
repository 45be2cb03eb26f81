#include "core/data/tiles.h"

#include "core/base/error.h"
#include "core/data/layer_problem.h"
#include "core/data/on_device.h"
#include "kernels/cuda/library.h"

namespace headscope {
namespace {

/// One column of per-head rows [n, heads], made contiguous for the rows asked for.
std::vector<float> gather_head(const RowsView& rows, int64_t head, int64_t begin, int64_t end) {
  std::vector<float> column(static_cast<size_t>(end - begin));
  for (int64_t row = begin; row < end; ++row) column[static_cast<size_t>(row - begin)] = rows.row(row)[head];
  return column;
}

/// The problem of one query head over the rows of the query and all keys, as views into the snapshot.
AttentionProblem head_problem(const RunSnapshot& run, const RowsView& queries, const TileQuery& query) {
  AttentionProblem problem = layer_problem(*run.architecture, query.layer);
  const LayerRows& layer = run.layers[static_cast<size_t>(query.layer)];
  const KvRows& store = run.store_of(query.layer);
  const int64_t kv_head = query.head / (problem.q_heads / problem.kv_heads);
  problem.q_heads = problem.kv_heads = 1;
  problem.q_len = query.row_end - query.row_begin;
  problem.kv_len = run.tokens();
  problem.causal_offset = query.row_begin;
  problem.q = queries.input().from(query.row_begin, query.head * problem.key_dim);
  problem.k = store.k.input().from(0, kv_head * problem.key_dim);
  // Values that are made from keys are f32, so the kernel is the one that the forward pass had. Tiles read none.
  if (run.architecture->store_of(query.layer).stored != Stored::keys_only) {
    problem.v = store.v.input().from(0, kv_head * problem.value_dim);
  }
  if (run.architecture->layers[static_cast<size_t>(query.layer)].rotate_on_read) {
    if (!layer.key_angles)
      throw std::logic_error("RunSnapshot: no angles for keys that are rotated when they are read");
    problem.key_rotation = layer.key_angles->rotation();
  }
  return problem;
}

}  // namespace

void check_tile_query(const RunSnapshot& run, const TileQuery& query) {
  const int64_t layers = run.architecture->layer_count();
  if (query.layer < 0 || query.layer >= layers) {
    fail("there is no layer {}: the model has layers 0 to {}", query.layer, layers - 1);
  }
  const int64_t heads = run.architecture->layers[static_cast<size_t>(query.layer)].q_heads;
  if (query.head < 0 || query.head >= heads) {
    fail("there is no head {} in layer {}: it has heads 0 to {}", query.head, query.layer, heads - 1);
  }
  const auto inside = [&](int64_t begin, int64_t end) { return begin >= 0 && begin < end && end <= run.tokens(); };
  if (!inside(query.row_begin, query.row_end) || !inside(query.key_begin, query.key_end) || query.bin < 1) {
    fail("the map has {} tokens: queries {} to {} and keys {} to {} in steps of {} are not a part of it", run.tokens(),
         query.row_begin, query.row_end, query.key_begin, query.key_end, query.bin);
  }
}

Tile compute_tile(const RunSnapshot& run, const TileQuery& query, const ParallelFor& workers, std::stop_token stop,
                  const AttentionKernel* wanted) {
  check_tile_query(run, query);
  return compute_tile(run, queries_of(run, query.layer, stop), query, workers, stop, wanted);
}

Tile compute_tile(const RunSnapshot& run, const RowsView& queries, const TileQuery& query, const ParallelFor& workers,
                  std::stop_token stop, const AttentionKernel* wanted) {
  check_tile_query(run, query);
  AttentionProblem problem = head_problem(run, queries, query);
  const LayerRows& layer = run.layers[static_cast<size_t>(query.layer)];
  const Device& device = queries.device();
  void* const stream = workers.stream();
  const StreamEnd end(device, stream);  // after the memory below, which goes in the stream's order
  const PositionBias bias(*run.architecture, query.head, 1, problem.kv_len, device, stream);
  bias.add_to(problem);
  const auto row_max = gather_head(layer.row_max, query.head, query.row_begin, query.row_end);
  const auto log_sum = gather_head(layer.log_sum, query.head, query.row_begin, query.row_end);

  TileRequest request;
  request.row_end = problem.q_len;
  request.key_begin = query.key_begin;
  request.key_end = query.key_end;
  request.bin = query.bin;
  request.pooling = query.pooling;
  try {
    const AttentionKernel& kernel = wanted != nullptr ? *wanted : kernel_for(device, problem);
    Tile tile{request.rows(), request.columns(), {}, kernel.name};
    tile.cells.resize(static_cast<size_t>(tile.rows * tile.columns));
    const OnDevice<float> maxima(device, row_max, stream), sums(device, log_sum, stream);
    FromDevice<float> cells(device, tile.cells, stream);
    float* const first = cells.data();
    Workspace workspace(kernel.tiles_workspace(problem, {&request, 1}, workers.workers()), device, stream);
    const std::span<const TileRequest> requests(&request, 1);
    if (!kernel.tiles(problem, maxima.data(), sums.data(), requests, {&first, 1}, workspace.span(), workers, stop)) {
      throw Cancelled();
    }
    cells.fetch();
    return tile;
  } catch (const CudaError& error) {
    throw_device_error(error.what());
  }
}

}  // namespace headscope
