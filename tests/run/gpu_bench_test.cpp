// `bench --device cuda` without a GPU: the processor and its kernels stand in, so that shapes, outputs and both sides'
// results are what they will be there. Times say nothing here.
#include <gtest/gtest.h>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "app/cli/bench/gpu.h"
#include "core/base/error.h"
#include "tests/run/recording_device.h"

namespace headscope::cli::bench {
namespace {

constexpr const char* operation = "aten::_scaled_dot_product_flash_attention_for_cpu";

Attended attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool causal, double scale) {
  const auto [out, lse] = at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0, causal, {}, scale);
  return {out, lse.reshape({q.size(0), q.size(1), q.size(2)}).to(at::kFloat)};
}

std::shared_ptr<Gpu> processor() {
  auto gpu = std::make_shared<Gpu>();
  gpu->name = "the processor";
  gpu->device = host();
  gpu->kernel = select_attention_kernel(AttentionProblem());
  gpu->flash = {"flash SDPA", operation, attend};
  gpu->cudnn = {"other SDPA", operation, attend};
  gpu->seconds = [](const std::function<void()>& work) { return seconds_of(work); };
  gpu->memory = [] { return CudaMemory{uint64_t{1} << 30, uint64_t{1} << 32}; };
  gpu->release_cached = [] {};
  gpu->host_memory = [](at::IntArrayRef shape) { return at::empty(shape, at::kFloat); };
  return gpu;
}

Bench bench_on(std::shared_ptr<const Gpu> gpu) {
  Setting setting;
  setting.tiny = true;
  setting.repeats = 1;
  setting.gpu = std::move(gpu);
  setting.kernels = {setting.gpu->kernel};
  return {setting, measure_gpu_limits(setting, *setting.gpu)};
}

std::vector<Row> rows_of(void (*family)(Bench&), std::shared_ptr<const Gpu> gpu = processor()) {
  const c10::InferenceMode no_gradients;
  Bench bench = bench_on(std::move(gpu));
  bench.begin("family", 0);
  family(bench);
  return bench.rows();
}

/// Every row is timed, and compared where the library has a side.
void expect_complete(const std::vector<Row>& rows, size_t count, size_t with_target) {
  ASSERT_EQ(rows.size(), count);
  size_t targets = 0;
  for (const Row& row : rows) {
    EXPECT_EQ(row.skipped, "") << row.what;
    EXPECT_FALSE(row.our_seconds.empty()) << row.what;
    EXPECT_EQ(row.compared.empty(), row.theirs.empty()) << row.what;
    targets += row.reached().has_value() ? 1 : 0;
  }
  EXPECT_EQ(targets, with_target);
}

TEST(GpuBench, Limits) {
  const Bench bench = bench_on(processor());
  ASSERT_EQ(bench.limits().size(), 3u);
  for (const Limit& limit : bench.limits()) EXPECT_GT(limit.all, 0) << limit.name;
}

TEST(GpuBench, Attention) {
  const std::vector<Row> rows = rows_of(bench_gpu_attention);
  expect_complete(rows, 6, 2);
  EXPECT_EQ(rows[0].theirs, "flash SDPA");
  EXPECT_EQ(rows[0].compared.size(), 2 + 2 * 9u);
  EXPECT_EQ(rows[1].theirs, "other SDPA");
}

TEST(GpuBench, Decode) {
  const std::vector<Row> rows = rows_of(bench_gpu_decode);
  expect_complete(rows, 9, 5);
  EXPECT_NE(rows[7].theirs.find("MHA"), std::string::npos);
}

TEST(GpuBench, Tiles) { expect_complete(rows_of(bench_gpu_tiles), 4, 4); }
TEST(GpuBench, MapStatistics) { expect_complete(rows_of(bench_gpu_map_statistics), 2, 2); }
TEST(GpuBench, Divergence) { expect_complete(rows_of(bench_gpu_divergence), 2, 2); }

TEST(GpuBench, Model) {
  const std::vector<Row> rows = rows_of(bench_gpu_model);
  ASSERT_EQ(rows.size(), 2u);
  expect_complete({rows[0]}, 1, 1);
  EXPECT_GT(rows[0].memory->pass, 0);
  EXPECT_EQ(rows[1].skipped, "the device records no work");
}

TEST(GpuBench, ModelOnADeviceThatRecords) {
  const auto gpu = processor();
  const auto device = testing::device_that(testing::Records::yes);
  gpu->device = device;
  gpu->kernel = device->kernels().front();
  const std::vector<Row> rows = rows_of(bench_gpu_model, gpu);
  expect_complete(rows, 2, 1);
  EXPECT_EQ(rows[1].what, "a token");
  EXPECT_EQ(rows[1].compared.size(), 1u);
  EXPECT_GE(device->repeats, 3);
}

TEST(GpuBench, AWrongKernelIsNotTimed) {
  const auto wrong = processor();
  static constexpr auto forward = [](const AttentionProblem& p, const AttentionOutput& o,
                                     std::span<std::byte> workspace, const ParallelFor& parallel) {
    select_attention_kernel(AttentionProblem()).forward(p, o, workspace, parallel);
    if (o.statistics.entropy) o.statistics.entropy[p.q_len - 1] += 0.1F;
  };
  wrong->kernel.forward = forward;
  EXPECT_THROW(rows_of(bench_gpu_attention, wrong), Error);
}

TEST(Target, IsMetFromItsSide) {
  Row row;
  row.our_seconds = {2e-3, 1e-3};
  row.their_seconds = {4e-3, 1e-2};
  row.floor = Floor{"read", 0.5e-3};
  EXPECT_FALSE(row.reached().has_value());
  for (const auto& [of, found] :
       {std::pair{Target::Of::ratio, 0.25}, std::pair{Target::Of::seconds, 1e-3}, std::pair{Target::Of::share, 0.5}}) {
    row.target = Target{of, found * 1.01};
    EXPECT_DOUBLE_EQ(*row.reached(), found);
    EXPECT_EQ(row.meets_target(), of != Target::Of::share);
    row.target = Target{of, found * 0.99};
    EXPECT_EQ(row.meets_target(), of == Target::Of::share);
  }
}

}  // namespace
}  // namespace headscope::cli::bench
