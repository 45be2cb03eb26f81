#include "app/cli/bench/serve.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <span>

#include "app/cli/bench/bench.h"
#include "app/cli/bench/machine.h"
#include "app/cli/model_access.h"
#include "core/io/json.h"
#include "core/run/decoder.h"

namespace headscope::cli::bench {
namespace {

void answer(const Json& json) {
  std::puts(json.dump().c_str());
  std::fflush(stdout);
}

void write_floats(std::ofstream& file, std::span<const float> values) {
  file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size_bytes()));
}

void write_results(const Run& run, const std::string& path) {
  const RunSnapshot shot = run.snapshot();
  std::ofstream file(path, std::ios::binary);
  write_floats(file, run.last_logits());
  std::vector<float> row(static_cast<size_t>(shot.tokens()));
  for (int64_t which = 0; which < statistic_count; ++which) {
    for (size_t layer = 0; layer < shot.layers.size(); ++layer) {
      const int64_t heads = shot.architecture->layers[layer].q_heads;
      for (int64_t head = 0; head < heads; ++head) {
        for (int64_t token = 0; token < shot.tokens(); ++token) {
          row[static_cast<size_t>(token)] =
              shot.layers[layer].statistic(static_cast<Statistic>(which), token, head, heads);
        }
        write_floats(file, row);
      }
    }
  }
  for (const LayerRows& layer : shot.layers) write_floats(file, layer.thumbnails->max);
  if (!file.flush()) fail("{} could not be written", quoted_path(path));
}

Json pass(const std::shared_ptr<const Model>& model, const Json& request, std::stop_token stop) {
  const auto ids = request.at("ids").get<std::vector<int32_t>>();
  const auto path = request.at("results").get<std::string>();
  std::unique_ptr<Run> run;
  forget_peak();
  const double seconds = seconds_of([&] {
    RunOptions options;
    options.expected_tokens = static_cast<int64_t>(ids.size());
    run = std::make_unique<Run>(model, options);
    run->extend(ids, {stop, {}});
  });
  const int64_t peak = process_bytes("VmHWM");
  if (!path.empty()) write_results(*run, path);
  return {{"seconds", seconds}, {"peak_bytes", peak}};
}

/// A prompt's cache, and a token behind it in each step.
class Decoding {
 public:
  Decoding(const std::shared_ptr<const Model>& model, const Json& request, std::stop_token stop)
      : model_(model),
        ids_(request.at("prefill").get<std::vector<int32_t>>()),
        decoder_(model, 1, static_cast<int64_t>(ids_.size()) + request.at("steps").get<int64_t>()) {
    decoder_.prefill(ids_, {stop, {}});
  }

  Json step(const Json& request, std::stop_token stop) {
    const int32_t id = request.at("step").get<int32_t>();
    int32_t next = 0;
    const double seconds = seconds_of([&] { next = decoder_.step({&id, 1}).front(); });
    const auto path = request.at("results").get<std::string>();
    if (!path.empty()) write_logits(id, next, path, stop);
    return {{"seconds", seconds}, {"read_bytes", decoder_.kv_read_bytes()}};
  }

 private:
  /// A decoder tells the likeliest token alone. The logits are those of a run of the same tokens, which must agree.
  void write_logits(int32_t id, int32_t next, const std::string& path, std::stop_token stop) const {
    Run run(model_, {});
    run.extend(ids_, {stop, {}});
    run.extend(std::span(&id, 1), {stop, {}});
    const std::span<const float> logits = run.last_logits();
    const auto likeliest = std::max_element(logits.begin(), logits.end()) - logits.begin();
    if (likeliest != next) fail("decoding finds token {} the likeliest, and a run of the same {}", next, likeliest);
    std::ofstream file(path, std::ios::binary);
    write_floats(file, logits);
    if (!file.flush()) fail("{} could not be written", quoted_path(path));
  }

  std::shared_ptr<const Model> model_;
  std::vector<int32_t> ids_;
  Decoder decoder_;
};

/// The kernel that a short pass uses.
std::string kernel_of(const std::shared_ptr<const Model>& model) {
  Run run(model, {});
  run.extend(std::vector<int32_t>{0, 1});
  return run.snapshot().kernel;
}

}  // namespace

void serve(const std::string& checkpoint, Context& context) {
  const std::shared_ptr<const Model> model = load_model(checkpoint, {}, context);
  answer({{"name", kernel_of(model)}, {"loaded_bytes", process_bytes("VmRSS")}});
  std::optional<Decoding> decoding;
  for (std::string line; std::getline(std::cin, line);) {
    const Json request = parse_json(line, "a request", {line.size()});
    if (request.contains("prefill")) {
      decoding.emplace(model, request, context.stop);
      answer(Json::object());
    } else if (request.contains("step") && decoding) {
      answer(decoding->step(request, context.stop));
    } else {
      answer(pass(model, request, context.stop));
    }
  }
}

}  // namespace headscope::cli::bench
