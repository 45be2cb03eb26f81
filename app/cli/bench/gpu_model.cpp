// A whole model of Llama-1B's shape with random weights: a long prompt with all statistics of all heads, and the memory
// that the driver says it takes; and tokens one by one, as a graph that is repeated and step by step.
#include <algorithm>
#include <memory>
#include <span>

#include "app/cli/bench/gpu.h"
#include "core/arch/footprint.h"
#include "core/arch/published.h"
#include "core/base/text.h"
#include "core/model/random_weights.h"
#include "core/run/decoder.h"
#include "core/run/run.h"

namespace headscope::cli::bench {
namespace {

constexpr int64_t number_bytes = 2;  ///< bf16

Architecture architecture_of(std::string_view name) {
  for (const PublishedModel& model : published_models()) {
    if (model.is_called(name)) return published_architecture(model);
  }
  throw std::logic_error("no such published model");
}

/// Q, K and V of every layer, LSE (two f32) of every row, and one chunk in f32: the residual stream, an MLP's input and
/// output, and its inner width twice, as a gated one has.
int64_t pass_bytes(const Architecture& architecture, int64_t tokens) {
  int64_t bytes = kv_bytes(architecture, 1, tokens, number_bytes), widest = 0;
  for (int64_t i = 0; i < architecture.layer_count(); ++i) {
    const Layer& layer = architecture.layers[static_cast<size_t>(i)];
    bytes += tokens * layer.q_heads * (architecture.store_of(i).key_dim * number_bytes + 2 * 4);
    widest = std::max(widest, 3 * architecture.d_model + 2 * layer.mlp.width);
  }
  return bytes + std::min(tokens, RunOptions().chunk) * widest * 4;
}

int64_t used_bytes(const Gpu& gpu) {
  const CudaMemory memory = gpu.memory();
  return static_cast<int64_t>(memory.total_bytes - memory.free_bytes);
}

/// The model on the device and its only pass. Takes what is used before the weights come as the bytes of others.
class ModelPass {
 public:
  ModelPass(const Setting& setting, const Gpu& gpu, std::string_view shape, int64_t tokens)
      : gpu_(gpu), progress_(setting.progress) {
    for (int64_t i = 0; i < tokens; ++i) ids_.push_back(static_cast<int32_t>((i * 7919 + 13) % 500));
    warm_up(setting);
    gpu.release_cached();
    before_ = used_bytes(gpu);
    Architecture architecture = architecture_of(shape);
    architecture.context = std::max(architecture.context, tokens);
    weights = parameters_of(architecture) * number_bytes;
    model_ =
        random_weights(std::string(shape), std::move(architecture), DType::bf16, setting.seed, progress_, gpu.device);
  }

  double run() {
    RunOptions options;
    options.expected_tokens = static_cast<int64_t>(ids_.size());
    return seconds_of([&] {
      run_ = std::make_unique<Run>(model_, options);
      run_->extend(ids_, progress_);
    });
  }

  const std::shared_ptr<const Model>& model() const { return model_; }
  std::span<const int32_t> prompt(int64_t tokens) const { return std::span(ids_).first(static_cast<size_t>(tokens)); }

  /// Beside the weights, by the driver. LibTorch's allocator keeps what it once had, so this is the peak.
  int64_t peak_bytes() const { return used_bytes(gpu_) - before_ - weights; }

  int64_t weights = 0;

 private:
  /// What libraries take at their first use is no part of the model.
  void warm_up(const Setting& setting) const {
    const auto small =
        random_weights("warm-up", architecture_of("stories260K"), DType::bf16, setting.seed, {}, gpu_.device);
    Run(small, {}).extend(std::vector<int32_t>{1, 2, 3});
  }

  const Gpu& gpu_;
  const Progress& progress_;
  int64_t before_ = 0;
  std::vector<int32_t> ids_;
  std::shared_ptr<const Model> model_;
  std::unique_ptr<Run> run_;
};

/// Tokens one by one behind a prompt, the likeliest ones, with nothing kept for viewers.
class Tokens {
 public:
  Tokens(const std::shared_ptr<const Model>& model, std::span<const int32_t> prompt, int64_t room, bool recorded)
      : decoder_(model, 1, static_cast<int64_t>(prompt.size()) + room, recorded) {
    decoder_.prefill(prompt);
    for (int i = 0; i < 3; ++i) step();  // the first makes ready, the second records
  }
  /// Seconds of one token, of so many in a row.
  double run(int count) {
    return seconds_of([&] {
             for (int i = 0; i < count; ++i) step();
           }) /
           count;
  }
  int64_t bytes_read() const { return decoder_.kv_read_bytes(); }
  std::vector<float> chosen() const { return {chosen_.begin(), chosen_.end()}; }  ///< ids below 2^24, as numbers

 private:
  void step() {
    next_ = decoder_.step(next_);
    chosen_.push_back(next_.front());
  }

  Decoder decoder_;
  std::vector<int32_t> next_ = {7}, chosen_;
};

void decode(Bench& bench, const ModelPass& pass, const char* shape) {
  const Setting& setting = bench.setting();
  const Gpu& gpu = *setting.gpu;
  const int64_t keys = setting.length(4096) / 2;
  const std::string name = fmt::format("{}, {} cached tokens", shape, format_count(static_cast<uint64_t>(keys)));
  const std::string ours = std::string(gpu.kernel.name) + ", bf16, graph", theirs = "ours, step by step";
  if (!gpu.device->records()) return bench.skip("a token", name, ours, theirs, "the device records no work");
  const int count = setting.tiny ? 2 : 16;
  const int64_t room = 2048;  // buffers that stay, for all rounds
  Tokens recorded(pass.model(), pass.prompt(keys), room, true), plain(pass.model(), pass.prompt(keys), room, false);
  const Floor floor = bench.floor({{"read", static_cast<double>(pass.weights + recorded.bytes_read())}});
  const auto compare = [&] { return std::vector{require_equal("tokens", recorded.chosen(), plain.chosen(), 0)}; };
  bench.hold({name,
              {{ours, [&] { return recorded.run(count); }, ""}, {theirs, [&] { return plain.run(count); }, ""}},
              {{"a token", 0, 1, floor, compare}}});
}

}  // namespace

void bench_gpu_model(Bench& bench) {
  const Setting& setting = bench.setting();
  const Gpu& gpu = *setting.gpu;
  const char* const shape = setting.tiny ? "stories260K" : "Llama-3.2-1B";
  const int64_t tokens = setting.length(32'768);
  ModelPass pass(setting, gpu, shape, tokens);
  const MemoryFormula memory{pass.weights, pass_bytes(architecture_of(shape), tokens)};
  Contest contest{fmt::format("{}, {} tokens", shape, format_count(static_cast<uint64_t>(tokens))), {}, {}, true};
  contest.sides.push_back(
      {std::string(gpu.kernel.name) + ", bf16", [&] { return pass.run(); }, "", {}, [&] { return pass.peak_bytes(); }});
  contest.pairings.push_back(
      {"all statistics, all heads", 0, std::nullopt, std::nullopt, {}, "", memory, Target{Target::Of::memory, 1.15}});
  bench.hold(contest);
  decode(bench, pass, shape);
}

}  // namespace headscope::cli::bench
