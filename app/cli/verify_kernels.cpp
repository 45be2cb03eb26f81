#include <algorithm>
#include <cmath>
#include <random>

#include "app/cli/verify_checks.h"
#include "core/base/error.h"
#include "core/data/workspace.h"
#include "kernels/kernels.h"

namespace headscope::cli {
namespace {

/// A random grouped attention problem and what one kernel makes of it.
struct KernelTrial {
  static constexpr int64_t q_heads = 4, kv_heads = 2, q_len = 77, kv_len = 141, dim = 24;

  explicit KernelTrial(uint64_t seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal(0, 2);
    for (auto* values : {&q, &k, &v}) std::generate(values->begin(), values->end(), [&] { return normal(random); });
    problem.q_heads = q_heads;
    problem.kv_heads = kv_heads;
    problem.q_len = q_len;
    problem.kv_len = kv_len;
    problem.key_dim = problem.value_dim = dim;
    problem.q = {q.data(), 0, q_len * dim, dim};
    problem.k = {k.data(), 0, kv_len * dim, dim};
    problem.v = {v.data(), 0, kv_len * dim, dim};
    problem.scale = 1 / std::sqrt(static_cast<float>(dim));
    problem.causal_offset = kv_len - q_len;
  }

  std::vector<float> output(const AttentionKernel& kernel, const ParallelFor& workers) const {
    std::vector<float> out(static_cast<size_t>(q_heads * q_len * dim));
    AttentionOutput output;
    output.out = {out.data(), 0, q_len * dim, dim};
    const Workspace workspace(kernel.forward_workspace(problem, output, workers.workers()));
    kernel.forward(problem, output, workspace.span(), workers);
    return out;
  }

  /// From now on q, k and v are bf16, rounded.
  void round() {
    const auto rounded = [](const std::vector<float>& from, std::vector<uint16_t>& to, InputRows& rows) {
      to.resize(from.size());
      to_bf16(from.data(), static_cast<int64_t>(from.size()), to.data());
      rows = {to.data(), rows.batch_stride, rows.head_stride, rows.row_stride};
    };
    rounded(q, q16, problem.q);
    rounded(k, k16, problem.k);
    rounded(v, v16, problem.v);
  }

  AttentionProblem problem;
  std::vector<uint16_t> q16, k16, v16;
  std::vector<float> q = std::vector<float>(static_cast<size_t>(q_heads * q_len * dim));
  std::vector<float> k = std::vector<float>(static_cast<size_t>(kv_heads * kv_len * dim));
  std::vector<float> v = std::vector<float>(static_cast<size_t>(kv_heads * kv_len * dim));
};

/// Largest difference relative to the largest reference value.
double relative_error(std::span<const float> values, std::span<const float> reference) {
  double worst = 0, largest = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    raise(worst, std::abs(static_cast<double>(values[i]) - static_cast<double>(reference[i])));
    largest = std::max(largest, std::abs(static_cast<double>(reference[i])));
  }
  return worst / largest;
}

}  // namespace

void raise(double& worst, double value) {
  if (!(value <= worst)) worst = std::isnan(value) ? INFINITY : value;
}

void check_kernels(const ParallelFor& workers, Findings& findings) {
  const KernelTrial f32(1);
  KernelTrial bf16(1);
  bf16.round();
  const auto kernels = attention_kernels();
  for (const AttentionKernel& kernel : kernels.subspan(1)) {
    // A kernel for bf16 alone rounds weights, each by 2^-9 of itself at most.
    const bool rounds = kernel.unsupported(f32.problem).has_value();
    const KernelTrial& trial = rounds ? bf16 : f32;
    const double allowed = rounds ? 0x1p-9 : 1e-5;
    const double error = relative_error(trial.output(kernel, workers), trial.output(kernels.front(), workers));
    findings.checks.push_back(
        {fmt::format("kernel {}", kernel.name), error <= allowed,
         fmt::format("{}largest difference from the double reference {:.1e} of the largest value, allowed {:.0e}",
                     rounds ? "bf16: " : "", error, allowed)});
  }
  findings.proved.push_back("the kernels of this machine agree with the double reference");
}

}  // namespace headscope::cli
