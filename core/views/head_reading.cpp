#include "core/views/head_reading.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/base/error.h"
#include "core/data/run_snapshot.h"

namespace headscope {

HeadNumbers even_attention(int64_t tokens, int64_t window) {
  if (tokens <= 0) return {};
  HeadNumbers sum{0, 0, 0, 0, 0};
  const int64_t first = tokens > 1 ? 1 : 0;
  for (int64_t row = first; row < tokens; ++row) {
    const int64_t keys = window > 0 ? std::min(row + 1, window) : row + 1;
    const auto v = static_cast<double>(keys);
    sum.entropy_nats += std::log(v);
    sum.distance_tokens += (v - 1) / 2;
    sum.max += 1 / v;
    if (keys == row + 1) sum.sink += static_cast<double>(std::min(sink_tokens, keys)) / v;
    sum.window += static_cast<double>(std::min(window_tokens, keys)) / v;
  }
  const auto rows = static_cast<double>(tokens - first);
  return {sum.entropy_nats / rows, sum.distance_tokens / rows, sum.max / rows, sum.sink / rows, sum.window / rows};
}

HeadData head_data(const AtlasData& atlas, const Architecture& architecture, int64_t layer, int64_t head) {
  const auto layers = static_cast<int64_t>(atlas.layers.size());
  if (layer < 0 || layer >= layers || layer >= architecture.layer_count()) {
    fail("there is no layer {}: the run has {} layers.", layer, layers);
  }
  const AtlasLayer& from = atlas.layers[static_cast<size_t>(layer)];
  if (head < 0 || head >= static_cast<int64_t>(from.heads.size())) {
    fail("there is no head {} in layer {}: it has {} query heads.", head, layer, from.heads.size());
  }
  const auto numbers = [](const AtlasHead& h) {
    return HeadNumbers{h.entropy_nats, h.distance_tokens, h.max, h.sink, h.window};
  };
  HeadData data;
  data.facts = atlas.facts;
  data.layer = layer;
  data.head = head;
  data.group_size = from.q_heads / from.kv_heads;
  data.kv_head = head / data.group_size;
  data.latent = from.latent;
  data.kv_owner = from.kv_owner;
  data.window = architecture.layers[static_cast<size_t>(layer)].window;
  data.numbers = numbers(from.heads[static_cast<size_t>(head)]);
  data.even = even_attention(atlas.facts.tokens, data.window);
  auto others = std::make_shared<std::vector<HeadNumbers>>();
  for (const AtlasLayer& l : atlas.layers) {
    for (const AtlasHead& h : l.heads) others->push_back(numbers(h));
  }
  data.others = std::move(others);
  data.map = from.heads[static_cast<size_t>(head)].map;
  data.bin = atlas.bin;
  return data;
}

std::vector<HeadMeasure> head_measures(const HeadData& data) {
  const int64_t tokens = std::max<int64_t>(1, data.facts.tokens);
  const auto keys = static_cast<double>(data.window > 0 ? std::min(tokens, data.window) : tokens);
  // A mean distance ends at twice that of even attention: the farthest key of every row.
  double distance = 2 * data.even.distance_tokens;
  if (data.others) {
    for (const HeadNumbers& other : *data.others) distance = std::fmax(distance, other.distance_tokens);
  }
  std::vector<HeadMeasure> list{
      {"entropy", "entropy", "nats", 2, &HeadNumbers::entropy_nats, std::log(std::max(2.0, keys))},
      {"distance", "distance", "tokens", 1, &HeadNumbers::distance_tokens, distance > 0 ? distance : 1},
      {"max", "largest weight", "", 2, &HeadNumbers::max, 1},
      {"sink", "on the first token", "", 2, &HeadNumbers::sink, 1},
  };
  if (std::isfinite(data.numbers.window)) {
    list.push_back({"window", "on the nearest 16", "", 2, &HeadNumbers::window, 1});
  }
  return list;
}

std::string measure_text(const HeadMeasure& measure, double value) {
  if (!std::isfinite(value)) return "NaN";
  return fmt::format("{:.{}f}{}{}", value, measure.decimals, measure.unit.empty() ? "" : " ", measure.unit);
}

std::string sharing_text(const HeadData& data, bool named) {
  const int64_t first = data.kv_head * data.group_size, others = data.group_size - 1;
  std::string out = data.latent ? "reads the latent" : fmt::format("reads KV head {}", data.kv_head);
  if (data.kv_owner != data.layer) out += fmt::format(" of layer {}", data.kv_owner);
  if (others == 0) return out + " alone";
  constexpr int64_t most_named = 4;
  if (!named || others > most_named) return out + fmt::format(" with {} other{}", others, others == 1 ? "" : "s");
  std::string names;
  for (int64_t h = first; h < first + data.group_size; ++h) {
    if (h != data.head) names += fmt::format("{}{}", names.empty() ? "" : ", ", h);
  }
  return out + fmt::format(" with head{} {}", others > 1 ? "s" : "", names);
}

std::string head_sentence(const HeadData& data) {
  const double distance = data.numbers.distance_tokens, entropy = data.numbers.entropy_nats;
  const std::string head = fmt::format("Layer {}, head {}", data.layer, data.head);
  if (!std::isfinite(distance) || !std::isfinite(entropy)) return head + " has numbers that are not finite.";
  return fmt::format(
      "{} looks back {:.1f} tokens on average, {:.1f} if it attended evenly; entropy {:.2f} of {:.2f} nats.", head,
      distance, data.even.distance_tokens, entropy, data.even.entropy_nats);
}

void check_head(const HeadData& data) {
  if (data.bin < 1) fail("the head's card was given cells of {} tokens; at least 1 is needed.", data.bin);
  const bool fits = data.layer >= 0 && data.group_size > 0 && data.head / data.group_size == data.kv_head;
  if (!fits) {
    fail("layer {}, head {} cannot read KV head {} when {} heads share each.", data.layer, data.head, data.kv_head,
         data.group_size);
  }
}

Table head_table(const HeadData& data) {
  struct Row {
    std::string measure, unit;
    double value, even;
  };
  auto rows = std::make_shared<std::vector<Row>>();
  for (const HeadMeasure& m : head_measures(data)) {
    rows->push_back({std::string(m.id), std::string(m.unit), data.numbers.*m.value, data.even.*m.value});
  }
  Table out{rows->size(), {}};
  const auto add = [&](std::string name, auto member) {
    out.columns.push_back(
        {std::move(name), "", [rows, member](size_t i) -> Table::Value { return (*rows)[i].*member; }});
  };
  add("metric", &Row::measure);
  add("value", &Row::value);
  add("unit", &Row::unit);
  add("even_attention", &Row::even);
  return out;
}

}  // namespace headscope
