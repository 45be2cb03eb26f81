#include "tests/kernels/staged_kernel.h"

#include "tests/kernels/staging.h"

namespace headscope::testing {
namespace {

size_t floats(int64_t count) { return static_cast<size_t>(std::max<int64_t>(0, count)) * sizeof(float); }

/// What every operation reads.
void add_problem(Staging& staging, AttentionProblem& p) {
  const int64_t keys = p.kv_len - p.first_key;
  staging.input("q", p.q.data, shape_of(p.q, p.batch, p.q_heads, p.q_len, p.key_dim));
  staging.input("k", p.k.data, shape_of(p.k, p.batch, p.kv_heads, keys, p.key_dim));
  staging.input("v", p.v.data, shape_of(p.v, p.batch, p.kv_heads, keys, p.value_dim));
  staging.input("alibi_slopes", p.alibi_slopes, floats(p.q_heads));
  staging.input("key_log_weight", p.key_log_weight, floats(p.q_heads * p.kv_len));
  KeyRotation& rotation = p.key_rotation;
  const size_t table = rotation.pairs > 0 ? floats((rotation.pairs - 1) * rotation.stride + p.kv_len) : 0;
  staging.input("cosines", rotation.cosines, table);
  staging.input("sines", rotation.sines, table);
}

int64_t rows_of_all_heads(const AttentionProblem& p) { return p.batch * p.q_heads * p.q_len; }

void add_row_results(Staging& staging, const AttentionProblem& p, const float*& row_max, const float*& log_sum) {
  staging.input("row_max", row_max, floats(rows_of_all_heads(p)));
  staging.input("log_sum", log_sum, floats(rows_of_all_heads(p)));
}

void add_output(Staging& staging, const AttentionProblem& p, AttentionOutput& o) {
  const int64_t rows = rows_of_all_heads(p), cells = p.batch * p.q_heads * o.thumbnails.cells * o.thumbnails.cells;
  const auto view = [&](const Rows<float>& of, int64_t dim) {
    return extent_of(shape_of(of, p.batch, p.q_heads, p.q_len, dim));
  };
  RowStatistics& s = o.statistics;
  staging.output("out", o.out.data, view(o.out, p.value_dim));
  staging.output("row_max", o.row_max, floats(rows));
  staging.output("log_sum", o.log_sum, floats(rows));
  staging.output("entropy", s.entropy, floats(rows));
  staging.output("max", s.max, floats(rows));
  staging.output("argmax", s.argmax, floats(rows));
  staging.output("distance", s.distance, floats(rows));
  staging.output("distance_variance", s.distance_variance, floats(rows));
  staging.output("sink", s.sink, floats(rows));
  staging.output("window", s.window, floats(rows));
  staging.output("largest thumbnails", o.thumbnails.max, floats(cells));
  staging.output("thumbnail sums", o.thumbnails.sum, 2 * floats(cells));
  staging.output("scores", o.scores.data, view(o.scores, p.kv_len));
}

/// The workspace's copy on the device, as a span of the same size.
class Scratch {
 public:
  Scratch(Staging& staging, std::span<std::byte> host) : data_(host.data()), size_(host.size()) {
    staging.output("workspace", data_, size_);
  }
  std::span<std::byte> span() const { return {data_, size_}; }

 private:
  std::byte* data_;
  size_t size_;
};

}  // namespace

void staged_forward(const StagedTarget& target, AttentionProblem p, AttentionOutput output,
                    std::span<std::byte> workspace, const ParallelFor& parallel) {
  Staging staging(target.memory);
  add_problem(staging, p);
  add_output(staging, p, output);
  const Scratch scratch(staging, workspace);
  staging.send();
  target.kernel.forward(p, output, scratch.span(), parallel);
  staging.fetch();
}

bool staged_tiles(const StagedTarget& target, AttentionProblem p, const float* row_max, const float* log_sum,
                  std::span<const TileRequest> requests, std::span<float* const> cells, std::span<std::byte> workspace,
                  const ParallelFor& parallel, std::stop_token stop) {
  Staging staging(target.memory);
  add_problem(staging, p);
  add_row_results(staging, p, row_max, log_sum);
  std::vector<float*> places(cells.begin(), cells.end());
  for (size_t i = 0; i < places.size(); ++i) {
    staging.output("cells", places[i], floats(requests[i].rows() * requests[i].columns()));
  }
  const Scratch scratch(staging, workspace);
  staging.send();
  const bool done = target.kernel.tiles(p, row_max, log_sum, requests, places, scratch.span(), parallel, stop);
  staging.fetch();
  return done;
}

bool staged_map_statistics(const StagedTarget& target, AttentionProblem p, const float* row_max, const float* log_sum,
                           MapStatistics wanted, std::span<std::byte> workspace, const ParallelFor& parallel,
                           std::stop_token stop) {
  Staging staging(target.memory);
  add_problem(staging, p);
  add_row_results(staging, p, row_max, log_sum);
  const int64_t heads = p.batch * p.q_heads, cells = heads * wanted.cells * wanted.cells;
  staging.output("column_mass", wanted.column_mass, floats(heads * p.kv_len));
  staging.output("grid_mean", wanted.grid_mean, floats(cells) / 2);
  staging.output("grid_max", wanted.grid_max, floats(cells) / 2);
  staging.output("distance_histogram", wanted.distance_histogram, floats(heads * wanted.distance_buckets));
  const Scratch scratch(staging, workspace);
  staging.send();
  const bool done = target.kernel.map_statistics(p, row_max, log_sum, wanted, scratch.span(), parallel, stop);
  staging.fetch();
  return done;
}

bool staged_divergence(const StagedTarget& target, AttentionProblem p, const float* row_max, const float* log_sum,
                       const DivergenceRequest& request, DivergenceOutput output, std::span<std::byte> workspace,
                       const ParallelFor& parallel, std::stop_token stop) {
  Staging staging(target.memory);
  add_problem(staging, p);
  add_row_results(staging, p, row_max, log_sum);
  const size_t pairs = floats(p.q_heads * p.q_heads);
  staging.output("value", output.value, pairs);
  staging.output("lower", output.lower, pairs);
  staging.output("upper", output.upper, pairs);
  const Scratch scratch(staging, workspace);
  staging.send();
  const bool done = target.kernel.divergence(p, row_max, log_sum, request, output, scratch.span(), parallel, stop);
  staging.fetch();
  return done;
}

}  // namespace headscope::testing
