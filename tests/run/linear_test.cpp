// Linear layers of models: who multiplies them, and what the kernels make of LibTorch's tensors.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/model/linear.h"
#include "core/model/torch_workers.h"
#include "core/run/layers.h"
#include "kernels/linear.h"

namespace headscope {
namespace {

double largest(const at::Tensor& values) { return values.abs().max().item<double>(); }

at::Tensor exact_product(const Linear& linear, const at::Tensor& x) {
  return at::linear(x.to(at::kDouble), linear.weight.to(at::kDouble),
                    linear.bias.defined() ? linear.bias.to(at::kDouble) : linear.bias);
}

double relative_error(const at::Tensor& y, const Linear& linear, const at::Tensor& x) {
  EXPECT_EQ(y.scalar_type(), at::kFloat);
  const at::Tensor exact = exact_product(linear, x);
  return largest(y - exact) / largest(exact);
}

/// How far a product may be off when x was rounded to bf16, which changes each term by 2^-8 of it at most.
double rounding(const Linear& linear, const at::Tensor& x) {
  return largest(at::linear(x.abs(), linear.weight.to(at::kFloat).abs())) / 256 / largest(exact_product(linear, x));
}

TEST(LinearLayer, IsTheProductWhoeverMultiplies) {
  at::manual_seed(5);
  for (const auto& [rows, columns] : {std::pair{7, 5}, {96, 33}, {300, 1024}}) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      for (const bool bias : {false, true}) {
        for (const LinearMethod method : {LinearMethod::own, LinearMethod::libtorch}) {
          const Linear linear{at::randn({rows, columns}).to(type), bias ? at::randn({rows}) : at::Tensor(), method};
          for (const int64_t tokens : {int64_t{1}, int64_t{2}, few_tokens, few_tokens + 1, int64_t{40}}) {
            const at::Tensor x = at::randn({tokens, columns});
            SCOPED_TRACE(::testing::Message() << rows << " x " << columns << " " << toString(type) << ", " << tokens);
            EXPECT_LT(relative_error(apply_exact_linear(linear, x), linear, x), 2e-6);
            const bool may_round = type == at::kBFloat16 && tokens > few_tokens;
            EXPECT_LT(relative_error(apply_linear(linear, x), linear, x), may_round ? rounding(linear, x) : 2e-6);
          }
        }
      }
    }
  }
}

TEST(LinearLayer, ViewsOfLargerTensorsAndTransposedOnesWork) {
  at::manual_seed(6);
  const at::Tensor stored = at::randn({64, 48});
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor weights = stored.to(type);
    for (const int64_t tokens : {1, 20}) {
      const Linear rows{weights.narrow(0, 10, 20), {}}, columns{weights.narrow(1, 8, 30), {}},
          transposed{weights.t(), {}};
      const at::Tensor wide = at::randn({tokens, 100});
      for (const Linear& linear : {rows, columns, transposed}) {
        for (const at::Tensor& x :
             {wide.narrow(1, 3, linear.weight.size(1)), at::randn({linear.weight.size(1), tokens}).t()}) {
          EXPECT_LT(relative_error(apply_exact_linear(linear, x), linear, x), 2e-6);
        }
      }
    }
  }
}

TEST(LinearLayer, LibTorchMultipliesWhereItShould) {
  at::manual_seed(7);
  const at::Tensor weight = at::randn({50, 300}), x = at::randn({40, 300}), few = x.narrow(0, 0, few_tokens);
  const Linear own{weight, {}, LinearMethod::own}, library{weight, {}, LinearMethod::libtorch};
  EXPECT_TRUE(at::equal(apply_linear(library, x), at::linear(x, weight)));
  EXPECT_TRUE(at::equal(apply_linear(own, x), own_product(own, x, false)));
  EXPECT_TRUE(at::equal(apply_linear(library, few), own_product(own, few, false)));
}

TEST(LinearLayer, ThreadsDoNotChangeABit) {
  at::manual_seed(8);
  const int threads = at::get_num_threads();
  const Linear linear{at::randn({500, 200}), at::randn({500})};
  for (const int64_t tokens : {1, 300}) {
    const at::Tensor x = at::randn({tokens, 200});
    at::set_num_threads(1);
    const at::Tensor alone = apply_linear(linear, x);
    at::set_num_threads(3);
    EXPECT_TRUE(at::equal(apply_linear(linear, x), alone)) << tokens;
    at::set_num_threads(threads);
  }
}

TEST(TorchWorkers, WorkAtTheSameTime) {
  const int threads = at::get_num_threads();
  at::set_num_threads(2);
  std::atomic<int> arrived{0}, met{0};
  TorchWorkers().run(2, [&](int64_t, int) {
    ++arrived;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (arrived < 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    if (arrived == 2) ++met;
  });
  EXPECT_EQ(met, 2) << "one waits for the other, which only begins when it is done";
  at::set_num_threads(threads);
}

}  // namespace
}  // namespace headscope
