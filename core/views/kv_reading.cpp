#include "core/views/kv_reading.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "core/base/error.h"
#include "core/base/text.h"

namespace headscope {

void check_kv(const KvData& data) {
  if (data.prompt_tokens < 0 || data.prompt_tokens > data.facts.tokens) {
    fail("the KV view was given {} prompt tokens of {} tokens.", data.prompt_tokens, data.facts.tokens);
  }
  const auto history = static_cast<int64_t>(data.allocated_history.size());
  if (history != 0 && history != data.facts.tokens) {
    fail("the KV view was given {} allocation sizes for {} tokens.", history, data.facts.tokens);
  }
}

uint64_t total_used(const KvData& data) {
  uint64_t sum = 0;
  for (const auto& l : data.layers) sum += l.used;
  return sum;
}

uint64_t total_allocated(const KvData& data) {
  uint64_t sum = 0;
  for (const auto& l : data.layers) sum += l.allocated;
  return sum;
}

double bytes_after(const KvLayerBytes& layer, int64_t tokens) {
  const int64_t kept = layer.window > 0 ? std::min(tokens, layer.window) : tokens;
  return static_cast<double>(layer.bytes_per_token) * static_cast<double>(kept);
}

std::string kv_sentence(const KvData& data) {
  const auto layers = static_cast<int64_t>(data.layers.size());
  return fmt::format("{} used of {} allocated for {} token{} in {} layer{}.", format_bytes(total_used(data)),
                     format_bytes(total_allocated(data)), format_count(static_cast<uint64_t>(data.facts.tokens)),
                     data.facts.tokens == 1 ? "" : "s", layers, layers == 1 ? "" : "s");
}

Table kv_table(const KvData& data) {
  auto rows = std::make_shared<std::vector<KvLayerBytes>>(data.layers);
  Table out{rows->size(), {}};
  const auto add = [&](std::string name, std::string unit, auto get) {
    out.columns.push_back({std::move(name), std::move(unit),
                           [rows, get](size_t i) -> Table::Value { return static_cast<int64_t>(get((*rows)[i])); }});
  };
  add("layer", "", [](const KvLayerBytes& l) { return l.layer; });
  add("used", "bytes", [](const KvLayerBytes& l) { return l.used; });
  add("allocated", "bytes", [](const KvLayerBytes& l) { return l.allocated; });
  add("per_token", "bytes", [](const KvLayerBytes& l) { return l.bytes_per_token; });
  return out;
}

}  // namespace headscope
