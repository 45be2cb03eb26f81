// The forward of a prompt in bf16 with row statistics and thumbnails, beside LibTorch's flash attention and cuDNN's,
// which give output and log-sum-exp alone.
#include <algorithm>

#include <ATen/ATen.h>

#include "app/cli/bench/gpu_data.h"

namespace headscope::cli::bench {
namespace {

constexpr double tolerance = 1e-3;       ///< of statistics: sums in f32 in another order
constexpr double bf16_tolerance = 1e-2;  ///< both round weights to bf16, the library results as well

std::vector<Difference> compare_forward(const GpuForward& ours, const Attended& theirs) {
  return {require_same("output", ours.out, theirs.out, bf16_tolerance),
          require_same("log-sum-exp", ours.row_max + ours.log_sum, theirs.lse, tolerance)};
}

/// Statistics of one head's last rows from weights that LibTorch computes in f32. Whole cells of thumbnails.
void compare_head(const GpuForward& ours, const GpuData& data, int64_t head, std::vector<Difference>& found) {
  constexpr int64_t cells = GpuForward::cells;
  const int64_t keys = data.shape.kv_len, bin = (keys + cells - 1) / cells,
                rows = std::max<int64_t>(bin, 128 / bin * bin);
  const int64_t first = data.shape.q_len - rows;
  const DenseRows dense(data, head, first, rows);
  const at::Tensor &p = dense.weights, logs = at::where(p > 0, p.log(), 0);
  const at::Tensor mean = (p * dense.distance).sum(1);
  const auto add = [&](const char* what, const at::Tensor& all, const at::Tensor& expected) {
    found.push_back(require_same(what, all[0][head].narrow(0, first, rows), expected, tolerance));
  };
  add("entropy", ours.entropy, -(p * logs).sum(1));
  add("largest weight", ours.max, p.amax(1));
  add("distance", ours.distance, mean);
  add("variance of distance", ours.variance, (p * (dense.distance - mean.unsqueeze(1)).square()).sum(1));
  add("sink mass", ours.sink, p.narrow(1, 0, KernelForward::sink_tokens).sum(1));
  add("window mass", ours.window, (p * (dense.distance < KernelForward::window_tokens)).sum(1));
  const at::Tensor pooled = p.view({rows / bin, bin, cells, bin}).amax({1, 3});
  found.push_back(
      require_same("thumbnails", ours.thumbnails[0][head].narrow(0, first / bin, rows / bin), pooled, tolerance));
  const at::Tensor mass = p.view({rows / bin, bin, cells, bin}).sum({1, 3});
  found.push_back(require_same("sums of thumbnails",
                               ours.sums[0][head].narrow(0, first / bin, rows / bin) * Thumbnails::sum_unit, mass,
                               tolerance));
  const at::Tensor its_weight = p.gather(1, ours.argmax[0][head].narrow(0, first, rows).to(at::kLong).unsqueeze(1));
  found.push_back(require_same("weight of the largest key", its_weight.squeeze(1), p.amax(1), tolerance));
}

std::vector<Difference> compare_everything(const GpuForward& ours, const Attended& theirs, const GpuData& data) {
  std::vector<Difference> found = compare_forward(ours, theirs);
  for (const int64_t head : {int64_t{0}, data.shape.q_heads - 1}) compare_head(ours, data, head, found);
  return found;
}

void forward(Bench& bench, const Gpu& gpu, const GpuData& data) {
  GpuForward everything(gpu, data.problem(), true), plain(gpu, data.problem(), false);
  Attended flash, cudnn;
  const auto theirs = [&](const LibraryKernel& kernel, Attended& results) {
    return Side{
        kernel.name,
        [&] { return gpu.seconds([&] { results = kernel.attend(data.q, data.k, data.v, true, data.scale()); }); },
        kernel.operation};
  };
  const std::string name(gpu.kernel.name);
  const Floor floor = bench.floor({{"mma", data.shape.operations()}});
  const char* note = "theirs computes no statistics";
  bench.hold({data.shape.text() + ", bf16",
              {{name, [&] { return everything.run(); }, ""},
               {name, [&] { return plain.run(); }, ""},
               theirs(gpu.flash, flash),
               theirs(gpu.cudnn, cudnn)},
              {{"with statistics",
                0,
                2,
                floor,
                [&] { return compare_everything(everything, flash, data); },
                note,
                {},
                Target{Target::Of::ratio, 1.5}},
               {"with statistics", 0, 3, floor, [&] { return compare_forward(everything, cudnn); }, note},
               {"output and LSE", 1, 2, floor, [&] { return compare_forward(plain, flash); }}}});
}

}  // namespace

void bench_gpu_attention(Bench& bench) {
  const Setting& setting = bench.setting();
  const Gpu& gpu = *setting.gpu;
  at::manual_seed(setting.seed);
  for (const int64_t tokens : {4096, 32'768}) {
    if ((setting.quick || setting.tiny) && tokens > 4096) continue;
    for (const int64_t dim : {64, 128}) {
      const int64_t length = setting.length(tokens), heads = setting.tiny ? 2 : 32;
      forward(bench, gpu, GpuData({"MHA", heads, heads, length, length, dim, dim}, 1, gpu));
    }
  }
}

}  // namespace headscope::cli::bench
