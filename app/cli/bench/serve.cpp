#include "app/cli/bench/serve.h"

#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>

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

void write_results(const Run& run, const std::string& path) {
  const RunSnapshot shot = run.snapshot();
  std::ofstream file(path, std::ios::binary);
  const auto write = [&](const float* values, size_t count) {
    file.write(reinterpret_cast<const char*>(values), static_cast<std::streamsize>(count * sizeof(float)));
  };
  write(run.last_logits().data(), run.last_logits().size());
  std::vector<float> row(static_cast<size_t>(shot.tokens()));
  for (int64_t which = 0; which < statistic_count; ++which) {
    for (size_t layer = 0; layer < shot.layers.size(); ++layer) {
      const int64_t heads = shot.architecture->layers[layer].q_heads;
      for (int64_t head = 0; head < heads; ++head) {
        for (int64_t token = 0; token < shot.tokens(); ++token) {
          row[static_cast<size_t>(token)] =
              shot.layers[layer].statistic(static_cast<Statistic>(which), token, head, heads);
        }
        write(row.data(), row.size());
      }
    }
  }
  for (const LayerRows& layer : shot.layers) write(layer.thumbnails->max.data(), layer.thumbnails->max.size());
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

std::unique_ptr<Decoder> prefilled(const std::shared_ptr<const Model>& model, const Json& request,
                                   std::stop_token stop) {
  const auto ids = request.at("prefill").get<std::vector<int32_t>>();
  const auto room = static_cast<int64_t>(ids.size()) + request.at("steps").get<int64_t>();
  auto decoder = std::make_unique<Decoder>(model, 1, room);
  decoder->prefill(ids, {stop, {}});
  return decoder;
}

Json decoded(Decoder& decoder, const Json& request) {
  const int32_t id = request.at("step").get<int32_t>();
  int32_t next = 0;
  const double seconds = seconds_of([&] { next = decoder.step({&id, 1}).front(); });
  return {{"seconds", seconds}, {"next", next}, {"read_bytes", decoder.kv_read_bytes()}};
}

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
  std::unique_ptr<Decoder> decoder;
  for (std::string line; std::getline(std::cin, line);) {
    const Json request = parse_json(line, "a request", {line.size()});
    if (request.contains("prefill")) {
      decoder = prefilled(model, request, context.stop);
      answer(Json::object());
    } else if (request.contains("step") && decoder) {
      answer(decoded(*decoder, request));
    } else {
      answer(pass(model, request, context.stop));
    }
  }
}

}  // namespace headscope::cli::bench
