#include "core/views/atlas_reading.h"

#include <fmt/format.h>

#include <cmath>

#include "core/base/error.h"

namespace headscope {
namespace {

const char* plural(int64_t count) { return count == 1 ? "" : "s"; }

std::string grouping_text(const AtlasLayer& layer) {
  const int64_t group = layer.q_heads / layer.kv_heads;
  if (group == 1) return layer.q_heads == 1 ? "with its own KV head" : "each with its own KV head";
  if (layer.latent) return "all reading one latent";
  if (layer.kv_heads == 1) return "all reading one KV head";
  if (group == 2) return "in pairs that read the same KV head";
  return fmt::format("in groups of {} that read the same KV head", group);
}

std::string shape_sentence(const AtlasData& data) {
  const auto count = static_cast<int64_t>(data.layers.size());
  const AtlasLayer& first = data.layers.front();
  bool even = true;
  int64_t heads = 0, readers = 0;
  for (int64_t l = 0; l < count; ++l) {
    const AtlasLayer& layer = data.layers[static_cast<size_t>(l)];
    even &= layer.q_heads == first.q_heads && layer.kv_heads == first.kv_heads;
    heads += layer.q_heads;
    readers += layer.kv_owner != l;
  }
  std::string out = fmt::format("{} layer{}", count, plural(count));
  if (even) {
    out += fmt::format(" x {} query head{}, {}", first.q_heads, plural(first.q_heads), grouping_text(first));
  } else {
    out += fmt::format(", {} query heads, grouped differently from layer to layer", heads);
  }
  if (readers > 0)
    out += fmt::format("; {} layer{} read{} another layer's cache", readers, plural(readers), readers == 1 ? "s" : "");
  return out + ".";
}

std::string finding(const AtlasData& data, HeadMetric metric) {
  // How far a head looks says more than how wide, so entropy and distance share a sentence.
  const HeadMetric asked = metric == HeadMetric::entropy ? HeadMetric::distance : metric;
  const auto best = largest_head(data, asked);
  if (!best || data.facts.tokens < 2) return "";
  const std::string head = fmt::format(" Layer {}, head {}", best->layer, best->head);
  const AtlasHead& found = data.layers[static_cast<size_t>(best->layer)].heads[static_cast<size_t>(best->head)];
  const std::string value = metric_number(metric_value(found, asked), asked);
  if (asked == HeadMetric::distance) return fmt::format("{} looks back furthest: {} tokens on average.", head, value);
  if (asked == HeadMetric::sink) return fmt::format("{} rests most on the first token: {} of its weight.", head, value);
  return fmt::format("{} is the most decided: largest weight {} on average.", head, value);
}

}  // namespace

double metric_value(const AtlasHead& head, HeadMetric metric) {
  switch (metric) {
    case HeadMetric::entropy:
      return head.entropy_nats;
    case HeadMetric::distance:
      return head.distance_tokens;
    case HeadMetric::sink:
      return head.sink;
    case HeadMetric::max:
      return head.max;
  }
  return NAN;
}

std::string_view metric_unit(HeadMetric metric) {
  return metric == HeadMetric::entropy ? "nats" : metric == HeadMetric::distance ? "tokens" : "";
}

std::string_view metric_text(HeadMetric metric) {
  switch (metric) {
    case HeadMetric::entropy:
      return "mean entropy";
    case HeadMetric::distance:
      return "mean distance";
    case HeadMetric::sink:
      return "mean weight on the first token";
    case HeadMetric::max:
      return "mean largest weight";
  }
  return "";
}

std::string_view metric_heading(HeadMetric metric) {
  switch (metric) {
    case HeadMetric::entropy:
      return "entropy, nats";
    case HeadMetric::distance:
      return "distance, tokens";
    case HeadMetric::sink:
      return "on the first token";
    case HeadMetric::max:
      return "largest weight";
  }
  return "";
}

std::string metric_number(double value, HeadMetric metric) {
  if (!std::isfinite(value)) return "NaN";
  return fmt::format("{:.{}f}", value, metric == HeadMetric::distance ? 1 : 2);
}

std::optional<HeadId> largest_head(const AtlasData& data, HeadMetric metric) {
  std::optional<HeadId> best;
  double most = 0;
  for (size_t l = 0; l < data.layers.size(); ++l) {
    for (size_t h = 0; h < data.layers[l].heads.size(); ++h) {
      const double value = metric_value(data.layers[l].heads[h], metric);
      if (!std::isfinite(value) || (best && value <= most)) continue;
      best = HeadId{static_cast<int64_t>(l), static_cast<int64_t>(h)};
      most = value;
    }
  }
  return best;
}

double layer_mean(const AtlasLayer& layer, HeadMetric metric) {
  double sum = 0, count = 0;
  for (const AtlasHead& head : layer.heads) {
    const double value = metric_value(head, metric);
    if (std::isfinite(value)) sum += value, ++count;
  }
  return count > 0 ? sum / count : NAN;
}

std::string atlas_sentence(const AtlasData& data, HeadMetric metric) {
  return shape_sentence(data) + finding(data, metric);
}

std::string head_tooltip(const AtlasData& data, HeadId id) {
  const AtlasLayer& layer = data.layers[static_cast<size_t>(id.layer)];
  const int64_t kv_head = id.head / (layer.q_heads / layer.kv_heads);
  const std::string read = layer.latent ? "the latent" : fmt::format("KV head {}", kv_head);
  std::string out = fmt::format("layer {}, head {}, reads {}", id.layer, id.head, read);
  if (layer.kv_owner != id.layer) out += fmt::format(" of layer {}", layer.kv_owner);
  if (layer.heads[static_cast<size_t>(id.head)].off) out += "\nswitched off: its output is zeroed";
  for (const HeadMetric metric : {HeadMetric::entropy, HeadMetric::distance, HeadMetric::sink, HeadMetric::max}) {
    const double value = metric_value(layer.heads[static_cast<size_t>(id.head)], metric);
    out += fmt::format("\n{} {}", metric_text(metric), metric_number(value, metric));
    if (!metric_unit(metric).empty()) out += fmt::format(" {}", metric_unit(metric));
  }
  return out;
}

void check_atlas(const AtlasData& data) {
  if (data.bin < 1) fail("the atlas was given cells of {} tokens; at least 1 is needed.", data.bin);
  for (size_t l = 0; l < data.layers.size(); ++l) {
    const AtlasLayer& layer = data.layers[l];
    const bool divides = layer.q_heads > 0 && layer.kv_heads > 0 && layer.q_heads % layer.kv_heads == 0;
    if (!divides || static_cast<int64_t>(layer.heads.size()) != layer.q_heads) {
      fail("layer {} of the atlas has {} query heads, {} KV heads and numbers of {} heads, which do not fit together.",
           l, layer.q_heads, layer.kv_heads, layer.heads.size());
    }
    if (layer.kv_owner < 0 || layer.kv_owner > static_cast<int64_t>(l)) {
      fail("layer {} of the atlas reads the cache of layer {}, which does not come before it.", l, layer.kv_owner);
    }
  }
}

Table atlas_table(const AtlasData& data) {
  struct Row {
    int64_t layer, head, kv_head, kv_owner;
    double entropy, distance, sink, max;
  };
  auto rows = std::make_shared<std::vector<Row>>();
  for (size_t l = 0; l < data.layers.size(); ++l) {
    const AtlasLayer& layer = data.layers[l];
    for (int64_t h = 0; h < layer.q_heads; ++h) {
      const AtlasHead& head = layer.heads[static_cast<size_t>(h)];
      rows->push_back({static_cast<int64_t>(l), h, h / (layer.q_heads / layer.kv_heads), layer.kv_owner,
                       head.entropy_nats, head.distance_tokens, head.sink, head.max});
    }
  }
  Table out{rows->size(), {}};
  const auto add = [&](std::string name, std::string unit, auto member) {
    out.columns.push_back(
        {std::move(name), std::move(unit), [rows, member](size_t i) -> Table::Value { return (*rows)[i].*member; }});
  };
  add("layer", "", &Row::layer);
  add("head", "", &Row::head);
  add("kv_head", "", &Row::kv_head);
  add("kv_owner", "", &Row::kv_owner);
  add("entropy", "nats", &Row::entropy);
  add("distance", "tokens", &Row::distance);
  add("sink", "", &Row::sink);
  add("max", "", &Row::max);
  return out;
}

}  // namespace headscope
