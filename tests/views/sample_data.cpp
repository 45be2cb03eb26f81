#include "tests/views/sample_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "core/base/text.h"

namespace headscope::sample {
namespace {

/// 2,048 tokens make 4 million weights a head, so long prompts are made at this many rows and stretched.
constexpr int64_t most_rows = 256;

RunFacts facts(const Shape& shape) {
  RunFacts out;
  out.model = fmt::format("sample-{}x{}", shape.layers, shape.q_heads);
  out.variant = shape.kv_heads == shape.q_heads ? "MHA"
                : shape.kv_heads == 1           ? "MQA"
                                                : fmt::format("GQA-{}", shape.kv_heads);
  if (shape.layers_per_cache > 1) out.variant = fmt::format("CLA-{} {}", shape.layers_per_cache, out.variant);
  out.tokens = shape.tokens;
  out.notes = {"built-in prompt", "computed by kernel cpu/AVX3, f32"};
  return out;
}

double score(int kind, int64_t query, int64_t key, double noise, double token_weight) {
  const auto back = static_cast<double>(query - key);
  switch (kind) {
    case 0:
      return (back == 1 ? 7.0 : 0.0) + noise - 0.05 * back;  // previous token
    case 1:
      return (key == 0 ? 5.0 : 0.0) + noise * 0.7 + 0.6 * token_weight;  // sink
    case 2:
      return 1.3 * noise + 1.2 * token_weight;  // broad
    case 3:
      return -0.35 * back + noise;  // local
    default:
      return (query % 17 == (key + 16) % 17 && back > 3 ? 5.0 : 0.0) + noise;  // induction
  }
}

}  // namespace

std::vector<float> attention(int64_t tokens, uint64_t seed) {
  std::mt19937_64 random(seed * 7919 + 13);
  std::normal_distribution<double> normal;
  const int kind = static_cast<int>(random() % 5);
  std::vector<double> token_weight(static_cast<size_t>(tokens));
  for (double& w : token_weight) w = normal(random);
  std::vector<float> out(static_cast<size_t>(tokens * tokens));
  std::vector<double> row(static_cast<size_t>(tokens));
  for (int64_t q = 0; q < tokens; ++q) {
    double sum = 0;
    for (int64_t k = 0; k <= q; ++k) {
      const double s = score(kind, q, k, normal(random), token_weight[static_cast<size_t>(k)]);
      sum += row[static_cast<size_t>(k)] = std::exp(s);
    }
    for (int64_t k = 0; k <= q; ++k) {
      out[static_cast<size_t>(q * tokens + k)] = static_cast<float>(row[static_cast<size_t>(k)] / sum);
    }
  }
  return out;
}

std::vector<std::string> story(int64_t tokens) {
  static const std::vector<std::string> words{
      "<s>",  " Once",  " upon", " a",   " time", ",",    " there", " was", " a",    " little", " g",   "ir",
      "l",    " named", " Lily", ".",    " She",  " lo",  "ved",    " to",  " play", " out",    "s",    "id",
      "e",    " in",    " the",  " p",   "ar",    "k",    " with",  " her", " do",   "g",       ".",    " One",
      " day", ",",      " she",  " saw", " a",    " big", ",",      " r",   "ed",    " ball",   ".",    "\n",
      "She",  " said",  ",",     " \"",  "Hi",    ",",    " do",    "g",    "!\"",   " and",    " ran", "."};
  std::vector<std::string> out;
  for (int64_t i = 0; i < tokens; ++i) out.push_back(words[static_cast<size_t>(i) % words.size()]);
  return out;
}

std::vector<std::string> hard_pieces(int64_t tokens) {
  static const std::vector<std::string> words{" antidisestablishmentarianism-and-then-some",
                                              "\u05E9\u05DC\u05D5\u05DD",
                                              "\U0001F600\U0001F468\u200D\U0001F469",
                                              "\n\n\n",
                                              std::string("\x00\x01\x1b[31m", 7),
                                              "\t",
                                              "",
                                              "<0xE2>",
                                              "\xE2\x82",
                                              "e\u0301\u0301\u0301",
                                              "\u202Eabc",
                                              "\uFEFF",
                                              "   ",
                                              "\u4E2D\u6587",
                                              "<|endoftext|>",
                                              "]]>&\"'<",
                                              "\u0645\u0631\u062D\u0628\u0627"};
  std::vector<std::string> out;
  for (int64_t i = 0; i < tokens; ++i) out.push_back(words[static_cast<size_t>(i) % words.size()]);
  return out;
}

AtlasData atlas_data(const Shape& shape) {
  AtlasData data;
  data.facts = facts(shape);
  const int64_t rows = std::min(shape.tokens, most_rows), stretch = (shape.tokens + rows - 1) / rows;
  const int64_t thumb_bin = (rows + 63) / 64, cells = (rows + thumb_bin - 1) / thumb_bin;
  data.bin = thumb_bin * stretch;
  for (int64_t l = 0; l < shape.layers; ++l) {
    AtlasLayer layer{shape.q_heads, shape.kv_heads, l - l % shape.layers_per_cache, {}};
    for (int64_t h = 0; h < shape.q_heads; ++h) {
      const std::vector<float> weights = attention(rows, static_cast<uint64_t>(l * shape.q_heads + h));
      std::vector<float> map(static_cast<size_t>(cells * cells));
      AtlasHead head;
      for (int64_t q = 0; q < rows; ++q) {
        double entropy = 0, distance = 0, most = 0;
        for (int64_t k = 0; k <= q; ++k) {
          const float w = weights[static_cast<size_t>(q * rows + k)];
          float& cell = map[static_cast<size_t>(q / thumb_bin * cells + k / thumb_bin)];
          cell = std::max(cell, w);
          const auto p = static_cast<double>(w);
          if (p > 0) entropy -= p * std::log(p);
          distance += p * static_cast<double>(q - k);
          most = std::max(most, p);
        }
        const auto n = static_cast<double>(rows);
        head.entropy_nats += entropy / n;
        head.distance_tokens += distance / n;
        head.sink += static_cast<double>(weights[static_cast<size_t>(q * rows)]) / n;
        head.max += most / n;
      }
      head.map = Grid::of(cells, cells, std::move(map));
      layer.heads.push_back(std::move(head));
    }
    data.layers.push_back(std::move(layer));
  }
  return data;
}

MapData map_data(const Shape& shape, int64_t layer, int64_t head) {
  MapData data;
  data.facts = facts(shape);
  data.layer = layer;
  data.head = head;
  data.group_size = shape.q_heads / shape.kv_heads;
  data.kv_head = head / data.group_size;
  data.kv_owner = layer - layer % shape.layers_per_cache;
  data.row_end = data.key_end = shape.tokens;
  const int64_t rows = std::min(shape.tokens, most_rows);
  data.bin = (shape.tokens + rows - 1) / rows;
  data.cells = Grid::of(rows, rows, attention(rows, static_cast<uint64_t>(layer * shape.q_heads + head)));
  data.pieces = story(shape.tokens);
  for (int64_t q = 0; q < shape.tokens; ++q) {
    double entropy = 0;
    for (int64_t k = 0; k < rows; ++k) {
      const auto p = static_cast<double>(data.cells.at(q / data.bin, k));
      if (p > 0) entropy -= p * std::log(p);
    }
    data.row_entropy_nats.push_back(static_cast<float>(entropy));
  }
  return data;
}

KvData kv_data(const Shape& shape) {
  KvData data;
  data.facts = facts(shape);
  data.prompt_tokens = shape.tokens * 3 / 5;
  const auto per_token = static_cast<uint64_t>(2 * shape.kv_heads * 8 * 4),
             tokens = static_cast<uint64_t>(shape.tokens);
  uint64_t owners = 0;
  for (int64_t l = 0; l < shape.layers; l += shape.layers_per_cache, ++owners) {
    data.layers.push_back({l, per_token, per_token * tokens, per_token * (tokens + 4), 0});
  }
  data.equation = fmt::format("{} B per token = 2 x {} layers x {} KV heads x 8 x 4 B",
                              format_count(owners * per_token), owners, shape.kv_heads);
  data.as_mha_bytes = owners * static_cast<uint64_t>(2 * shape.q_heads * 8 * 4) * tokens;
  data.as_mqa_bytes = owners * 2 * 8 * 4 * tokens;
  return data;
}

SharingData sharing_data(const Shape& shape) {
  auto a = std::make_shared<Architecture>();
  for (int64_t l = 0; l < shape.layers; ++l) {
    Layer layer;
    layer.q_heads = shape.q_heads;
    layer.kv_owner = l - l % shape.layers_per_cache;
    if (layer.kv_owner == l) a->kv_stores.push_back({l, shape.kv_heads, 8, 8, 0, Stored::keys_and_values, false});
    a->layers.push_back(layer);
  }
  return {a, ModelSlot::a};
}

SharingData sharing_kind(const Shape& shape, Stored stored, bool rotated, const std::vector<int64_t>& windows) {
  auto a = std::make_shared<Architecture>(*sharing_data(shape).architecture);
  for (KvStore& store : a->kv_stores) {
    store.stored = stored;
    if (stored == Stored::latent) store.key_dim = store.value_dim + 4;
  }
  for (size_t l = 0; l < a->layers.size(); ++l) {
    a->layers[l].rotate_on_read = rotated;
    a->layers[l].window = windows[l % windows.size()];
  }
  return {a, ModelSlot::a};
}

KvCompareData kv_compare_data(size_t models) {
  static constexpr int64_t kv_heads[] = {12, 4, 1, 6, 3, 2};
  const auto shared = [](int64_t heads, int64_t layers_per_cache, int64_t windowed) {
    auto a = std::make_shared<Architecture>(*sharing_data({12, 12, heads, 1, layers_per_cache}).architecture);
    for (KvStore& store : a->kv_stores) store.window = store.layer < windowed ? 512 : 0;
    a->d_model = 768;
    a->vocab_size = 50257;
    return a;
  };
  KvCompareData data;
  for (size_t i = 0; i < models; ++i) {
    const size_t kind = i + 1 == models && i > 0 ? i - 1 : i;  // the last one is as the one before
    const int64_t windowed = kind % 2 == 1 ? 10 : 0;
    const auto name = fmt::format("pythia-160m-variant-{}", i);
    data.subjects.push_back(
        {name, "", false, shared(kv_heads[kind % 6], 1 + static_cast<int64_t>(kind) / 6, windowed), 162'322'944});
    data.subjects.push_back({name, "MQA", true, shared(1, 1, windowed), 150'000'000});
    data.subjects.push_back({name, "SharedKV CLA-2 GQA-4", true, shared(4, 2, 0), 155'000'000});
  }
  data.batches = {1, 2, 4, 8, 16, 32, 64, 128};
  data.contexts = {256, 1024, 4096, 131072};
  data.dtype = "f16";
  return data;
}

KvSpeedData kv_speed_data(size_t models) {
  const KvCompareData data = kv_compare_data(models);
  KvSpeedData out;
  out.subjects = data.subjects;
  for (size_t i = 0; i < data.subjects.size(); ++i) {
    for (const int64_t batch : {1, 4, 16}) {
      KvSpeedRow row{i, batch, 2048};
      row.formula = row.used = row.allocated = kv_bytes(*data.subjects[i].architecture, batch, 2048, 4);
      row.read = row.used;
      row.prefill = 4000;
      row.decode = 900.0 * static_cast<double>(batch) / (1 + 0.05 * static_cast<double>(batch * (i % 3 + 1)));
      row.slowest = 0.9 * row.decode;
      row.fastest = 1.1 * row.decode;
      row.step_ms = 1000 * static_cast<double>(batch) / row.decode;
      out.rows.push_back(row);
    }
    out.weights.emplace_back(i % 3 == 0 ? "checkpoint" : "random");
    out.kernels.emplace_back("cpu/AVX2");
  }
  out.notes = {"measured: cpu, 2 threads, weights and cache f32", "medians of 3"};
  out.repeats = 3;
  out.threads = 2;
  return out;
}

HeadData head_data(const AtlasData& atlas, const Shape& shape, int64_t layer, int64_t head) {
  HeadData data = headscope::head_data(atlas, *sharing_data(shape).architecture, layer, head);
  data.next = {{" big", 0.38}, {" little", 0.17}, {" saw", 0.11}, {" dog", 0.07}, {"\n", 0.0004}};
  return data;
}

TokensData tokens_data(const std::vector<std::string>& pieces, double width, const TextMeasurer& text) {
  auto flow = std::make_shared<TokenFlow>(width);
  for (size_t i = 0; i < pieces.size(); ++i) {
    flow->append({static_cast<int32_t>(i % 512), pieces[i], i == 0, {}}, text);
  }
  TokensData data;
  data.facts = facts({5, 8, 4, flow->size(), 1});
  data.prompt_tokens = flow->size() * 3 / 5;
  data.flow = std::move(flow);
  return data;
}

}  // namespace headscope::sample
