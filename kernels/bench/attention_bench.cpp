// Times the forward pass of every kernel: attention_bench [kernel name or ""] [repeats] [part of a shape's name]
// Prints the minimum of the repeats, since other programs only ever add time. A causal pass counts the
// multiplications of visible (row, key) places alone: 2 * (key_dim + value_dim) floating-point operations each.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/thread_pool.h"

namespace headscope {
namespace {

struct Shape {
  const char* name;
  int64_t q_heads, kv_heads, q_len, kv_len, key_dim, value_dim;
};

constexpr Shape shapes[] = {
    {"GPT-2 prefill 1024", 12, 12, 1024, 1024, 64, 64},  {"GPT-2 prefill 2048", 12, 12, 2048, 2048, 64, 64},
    {"GQA-8 prefill 1024", 32, 8, 1024, 1024, 128, 128}, {"MLA-like prefill 1024", 8, 8, 1024, 1024, 192, 128},
    {"GPT-2 decode at 4096", 12, 12, 1, 4096, 64, 64},   {"GQA-8 decode at 4096", 32, 8, 1, 4096, 128, 128},
};

struct Buffers {
  std::vector<float> q, k, v, out, statistics, thumbnails;
  std::vector<int32_t> argmax;
};

std::vector<float> random_values(int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

Buffers make_buffers(const Shape& s) {
  std::mt19937 random(1);
  const auto rows = static_cast<size_t>(s.q_heads * s.q_len);
  return {random_values(s.q_heads * s.q_len * s.key_dim, random),
          random_values(s.kv_heads * s.kv_len * s.key_dim, random),
          random_values(s.kv_heads * s.kv_len * s.value_dim, random),
          std::vector<float>(rows * static_cast<size_t>(s.value_dim)),
          std::vector<float>(rows * 8),
          std::vector<float>(static_cast<size_t>(s.q_heads) * 64 * 64),
          std::vector<int32_t>(rows)};
}

AttentionProblem make_problem(const Shape& s, const Buffers& b) {
  AttentionProblem p;
  p.q_heads = s.q_heads;
  p.kv_heads = s.kv_heads;
  p.q_len = s.q_len;
  p.kv_len = s.kv_len;
  p.key_dim = s.key_dim;
  p.value_dim = s.value_dim;
  p.q = {b.q.data(), 0, s.q_len * s.key_dim, s.key_dim};
  p.k = {b.k.data(), 0, s.kv_len * s.key_dim, s.key_dim};
  p.v = {b.v.data(), 0, s.kv_len * s.value_dim, s.value_dim};
  p.scale = 0.125F;
  p.causal_offset = s.kv_len - s.q_len;
  return p;
}

AttentionOutput make_output(const Shape& s, Buffers& b, bool everything) {
  const int64_t rows = s.q_heads * s.q_len;
  float* at = b.statistics.data();
  AttentionOutput output;
  output.out = {b.out.data(), 0, s.q_len * s.value_dim, s.value_dim};
  output.row_max = at;
  output.log_sum = at + rows;
  if (!everything) return output;
  RowStatistics& statistics = output.statistics;
  statistics.entropy = at + 2 * rows;
  statistics.max = at + 3 * rows;
  statistics.argmax = b.argmax.data();
  statistics.distance = at + 4 * rows;
  statistics.distance_variance = at + 5 * rows;
  statistics.sink = at + 6 * rows;
  statistics.window = at + 7 * rows;
  output.thumbnails = {b.thumbnails.data(), 64, (s.kv_len + 63) / 64};
  return output;
}

double visible_places(const AttentionProblem& p) {
  double places = 0;
  for (int64_t i = 0; i < p.q_len; ++i) places += static_cast<double>(std::min(p.kv_len, i + p.causal_offset + 1));
  return places * static_cast<double>(p.q_heads);
}

double fastest_ms(const AttentionKernel& kernel, const AttentionProblem& problem, const AttentionOutput& output,
                  const ParallelFor& pool, int repeats) {
  const size_t bytes = kernel.forward_workspace(problem, output, pool.workers());
  const std::unique_ptr<void, decltype(&std::free)> memory(std::aligned_alloc(64, (bytes + 63) / 64 * 64), &std::free);
  const std::span workspace(static_cast<std::byte*>(memory.get()), bytes);
  double fastest = 1e30;
  for (int i = 0; i < repeats; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    kernel.forward(problem, output, workspace, pool);
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begin;
    fastest = std::min(fastest, taken.count());
  }
  return fastest;
}

void bench(std::string_view wanted, int repeats, std::string_view wanted_shape) {
  std::printf("%-24s %-12s %7s %22s %22s\n", "shape", "kernel", "workers", "output and LSE", "all statistics");
  for (const Shape& shape : shapes) {
    if (std::string_view(shape.name).find(wanted_shape) == std::string_view::npos) continue;
    for (const AttentionKernel& kernel : attention_kernels()) {
      if (wanted.empty() ? kernel.name == "reference" : kernel.name != wanted) continue;
      Buffers buffers = make_buffers(shape);
      const AttentionProblem problem = make_problem(shape, buffers);
      const double operations = visible_places(problem) * 2 * static_cast<double>(shape.key_dim + shape.value_dim);
      for (const int workers : {1, 2}) {
        const ThreadPool pool(workers);
        std::printf("%-24s %-12.*s %7d", shape.name, static_cast<int>(kernel.name.size()), kernel.name.data(), workers);
        for (const bool everything : {false, true}) {
          const double ms = fastest_ms(kernel, problem, make_output(shape, buffers, everything), pool, repeats);
          std::printf(" %8.3f ms %5.0f GF/s", ms, operations / ms * 1e-6);
        }
        std::printf("\n");
      }
    }
  }
}

}  // namespace
}  // namespace headscope

int main(int argc, char** argv) {
  headscope::bench(argc > 1 ? argv[1] : "", argc > 2 ? std::max(1, std::atoi(argv[2])) : 20, argc > 3 ? argv[3] : "");
  return 0;
}
