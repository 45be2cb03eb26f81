// Linear layers of GPT-2-small's shape: those of a prompt, where arithmetic sets the pace, and those of one token,
// where reading the weights does.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include "app/cli/bench/attention_data.h"
#include "app/cli/bench/machine.h"
#include "core/base/text.h"
#include "core/model/linear.h"
#include "core/run/layers.h"

namespace headscope::cli::bench {
namespace {

struct LinearShape {
  const char* name;
  int64_t in, out, tokens;
};

constexpr LinearShape shapes[] = {
    {"queries, keys, values", 768, 2304, 2048},
    {"MLP up", 768, 3072, 2048},
    {"MLP down", 3072, 768, 2048},
    {"MLP up", 768, 3072, 1},
    {"logits", 768, 50257, 1},
};

using Pointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, std::string_view,
                             c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);

template <class Signature>
auto operation(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

/// As many as fill the last cache 8 times, as far as memory goes: oneDNN has a packed copy of each.
int64_t copies_of(int64_t bytes) { return beyond_caches(8, 4) / bytes + 1; }

/// The layers of one run: one, or for one token as many copies as do not fit in the processor's caches.
struct Layers {
  Layers(const LinearShape& shape, bool bf16, const Setting& setting, at::Generator& random) {
    const int64_t bytes = shape.in * shape.out * (bf16 ? 2 : 4);
    const int64_t copies = shape.tokens > 1 ? 1 : setting.tiny ? 2 : copies_of(bytes);
    const double deviation = 1 / std::sqrt(static_cast<double>(shape.in));
    x = at::randn({shape.tokens, shape.in}, random);
    for (int64_t i = 0; i < copies; ++i) {
      at::Tensor weight = at::randn({shape.out, shape.in}, random).mul_(deviation);
      list.push_back({bf16 ? weight.to(at::kBFloat16) : weight, at::randn({shape.out}, random)});
    }
    read_bytes = copies * bytes;
    operations = 2.0 * static_cast<double>(copies * shape.in * shape.out * shape.tokens);
  }

  std::vector<Linear> list;
  at::Tensor x;  ///< [tokens, in]
  int64_t read_bytes = 0;
  double operations = 0;
};

/// Applies every layer and keeps what each gives. Layers and results outlive it.
Side side(std::string name, const Layers& layers, std::vector<at::Tensor>& results,
          std::function<at::Tensor(size_t)> apply, std::string must_run) {
  results.resize(layers.list.size());
  return {std::move(name),
          [&results, apply = std::move(apply)] {
            return seconds_of([&] {
              for (size_t i = 0; i < results.size(); ++i) results[i] = apply(i);
            });
          },
          std::move(must_run)};
}

Side our_side(const Layers& layers, std::vector<at::Tensor>& results) {
  const std::string_view kernel = linear_kernel_name(layers.list.front(), layers.x.size(0));
  return side(
      std::string(kernel), layers, results, [&layers](size_t i) { return apply_linear(layers.list[i], layers.x); }, "");
}

std::vector<Difference> compare(const std::vector<at::Tensor>& ours, const std::vector<at::Tensor>& theirs,
                                double tolerance) {
  std::vector<Difference> out;
  for (size_t i = 0; i < ours.size(); ++i) {
    out.push_back(require_equal("output", numbers(ours[i].contiguous()), numbers(theirs[i].contiguous()), tolerance));
  }
  return out;
}

void f32_layer(Bench& bench, const LinearShape& shape, const std::string& text, at::Generator& random) {
  const Layers layers(shape, false, bench.setting(), random);
  const auto prepack =
      operation<at::Tensor(const at::Tensor&, std::optional<int64_t>)>("mkldnn::_reorder_linear_weight");
  const auto product = operation<Pointwise>("mkldnn::_linear_pointwise");
  std::vector<at::Tensor> packed;
  for (const Linear& layer : layers.list) packed.push_back(prepack.call(layer.weight, shape.tokens));
  std::vector<at::Tensor> ours, plain, prepacked;
  const auto one_dnn = [&](size_t i) {
    return product.call(layers.x, packed[i], layers.list[i].bias, "none", c10::List<std::optional<at::Scalar>>(),
                        std::nullopt);
  };
  const Floor floor = shape.tokens > 1 ? bench.floor({{"fma", layers.operations}})
                                       : bench.floor({{"read", static_cast<double>(layers.read_bytes)}});
  bench.hold(
      {text,
       {our_side(layers, ours),
        side(
            "at::linear", layers, plain,
            [&](size_t i) { return at::linear(layers.x, layers.list[i].weight, layers.list[i].bias); }, "aten::linear"),
        side("oneDNN, prepacked", layers, prepacked, one_dnn, "mkldnn::_linear_pointwise")},
       {{"f32", 0, 1, floor, [&] { return compare(ours, plain, 1e-5); }},
        {"f32", 0, 2, floor, [&] { return compare(ours, prepacked, 1e-5); }}}});
}

void bf16_layer(Bench& bench, const LinearShape& shape, const std::string& text, at::Generator& random) {
  const Layers layers(shape, true, bench.setting(), random);
  std::vector<at::Tensor> ours, theirs;
  const auto rounded = [&](size_t i) {
    const Linear& layer = layers.list[i];
    return at::linear(layers.x.to(at::kBFloat16), layer.weight).to(at::kFloat).add_(layer.bias);
  };
  std::optional<Floor> floor;
  if (shape.tokens == 1) floor = bench.floor({{"read", static_cast<double>(layers.read_bytes)}});
  bench.hold({text,
              {our_side(layers, ours), side("at::linear in bf16", layers, theirs, rounded, "aten::linear")},
              // What the library rounds to bf16 has 8 bits.
              {{"bf16", 0, 1, floor, [&] { return compare(ours, theirs, 1e-2); }}}});
}

}  // namespace

void bench_linear(Bench& bench) {
  const Setting& setting = bench.setting();
  at::Generator random = seeded_generator(setting.seed);
  const auto count = [](int64_t value) { return format_count(static_cast<uint64_t>(value)); };
  for (LinearShape shape : shapes) {
    shape.tokens = setting.length(shape.tokens);
    if (setting.tiny) shape.out = std::min<int64_t>(shape.out, 512);
    const std::string text = fmt::format("{}, {} to {}, {}", shape.name, count(shape.in), count(shape.out),
                                         shape.tokens == 1 ? "1 token" : count(shape.tokens) + " tokens");
    f32_layer(bench, shape, text, random);
    bf16_layer(bench, shape, text, random);
  }
}

}  // namespace headscope::cli::bench
