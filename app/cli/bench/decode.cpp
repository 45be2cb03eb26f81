// One query row over a cache: memory sets the pace, so the step reads as many caches, one after the other, as do not
// fit in the processor, as the layers of a model do.
#include <memory>

#include <ATen/ATen.h>

#include "app/cli/bench/attention_data.h"
#include "app/cli/bench/library_attention.h"
#include "app/cli/bench/machine.h"

namespace headscope::cli::bench {
namespace {

constexpr double tolerance = 1e-4;
constexpr double bf16_tolerance = 1e-2;  ///< both round weights to bf16, the library results as well

/// SDPA over one cache. The query heads of one KV head stand as its rows, so that it is read once for all of them.
class LibraryDecode {
 public:
  explicit LibraryDecode(const AttentionData& data)
      : q_(data.q.view({1, data.shape.kv_heads, -1, data.shape.key_dim})), data_(data) {}

  void run() {
    out_ =
        std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(q_, data_.k, data_.v, 0, false, {}, data_.scale()));
  }
  at::Tensor out() const { return out_.to(at::kFloat).contiguous(); }

 private:
  at::Tensor q_, out_;
  const AttentionData& data_;
};

/// Caches of `bytes` that take 8 times the last cache of the processor together, as far as memory goes.
int64_t caches_of(const Setting& setting, int64_t bytes) {
  if (setting.tiny) return 2;
  return std::max<int64_t>(1, beyond_caches(8, 2) / bytes);
}

using Caches = std::vector<std::unique_ptr<AttentionData>>;

void step(Bench& bench, const AttentionKernel& kernel, const Caches& caches) {
  const bool bf16 = caches.front()->k.scalar_type() == at::kBFloat16;
  std::vector<std::unique_ptr<KernelForward>> ours;
  std::vector<std::unique_ptr<LibraryDecode>> theirs;
  int64_t bytes = 0;
  for (const auto& cache : caches) {
    ours.push_back(std::make_unique<KernelForward>(kernel, *cache, false));
    theirs.push_back(std::make_unique<LibraryDecode>(*cache));
    bytes += static_cast<int64_t>(cache->k.nbytes() + cache->v.nbytes());
  }
  const auto compare = [&] {
    std::vector<Difference> out;
    for (size_t i = 0; i < ours.size(); ++i) {
      out.push_back(
          require_equal("output", numbers(ours[i]->out), numbers(theirs[i]->out()), bf16 ? bf16_tolerance : tolerance));
    }
    return out;
  };
  const auto our_step = [&] {
    double seconds = 0;
    for (const auto& one : ours) seconds += one->run();
    return seconds;
  };
  const auto their_step = [&] {
    return seconds_of([&] {
      for (const auto& one : theirs) one->run();
    });
  };
  bench.hold(
      {fmt::format("{}, {} caches", caches.front()->shape.text(), caches.size()),
       {{std::string(kernel.name), our_step, ""},
        {bf16 ? "flash SDPA of bf16" : "flash SDPA", their_step, flash_operation}},
       {{bf16 ? "one row, bf16" : "one row", 0, 1, bench.floor({{"read", static_cast<double>(bytes)}}), compare}}});
}

}  // namespace

void bench_decode(Bench& bench) {
  const Setting& setting = bench.setting();
  at::Generator random = seeded_generator(setting.seed);
  for (AttentionShape shape :
       {AttentionShape{"GPT-2", 12, 12, 1, 4096, 64, 64}, AttentionShape{"GQA-8", 32, 8, 1, 4096, 128, 128}}) {
    shape.kv_len = setting.length(shape.kv_len);
    const int64_t bytes = shape.kv_heads * shape.kv_len * (shape.key_dim + shape.value_dim) * 4;
    Caches caches;
    for (int64_t i = caches_of(setting, bytes); i > 0; --i) {
      caches.push_back(std::make_unique<AttentionData>(shape, random));
    }
    for (const AttentionKernel& kernel : setting.kernels) step(bench, kernel, caches);
    Caches rounded;  // twice as many, which take as many bytes
    for (const auto& cache : caches) {
      rounded.push_back(std::make_unique<AttentionData>(cache->in_bf16()));
      rounded.push_back(std::make_unique<AttentionData>(AttentionData(shape, random).in_bf16()));
    }
    for (const AttentionKernel& kernel : bf16_kernels(setting, *rounded.front())) step(bench, kernel, rounded);
  }
}

}  // namespace headscope::cli::bench
