#include "app/cli/run_file_attention.h"

#include <algorithm>
#include <cmath>

#include "core/arch/names.h"
#include "core/arch/rope.h"

namespace headscope::cli {
namespace {

/// One value for each layer.
template <class Value, class Take>
std::vector<Value> of_layers(const Architecture& architecture, Take take) {
  std::vector<Value> values;
  for (int64_t layer = 0; layer < architecture.layer_count(); ++layer) {
    values.emplace_back(take(architecture.layers[static_cast<size_t>(layer)], architecture.store_of(layer)));
  }
  return values;
}

void describe_stores(Hdf5Writer& file, const char* group, const Architecture& a) {
  const auto numbers = [&](const char* name, auto take) { file.attribute(group, name, of_layers<int64_t>(a, take)); };
  numbers("kv_owner", [](const Layer& layer, const KvStore&) { return layer.kv_owner; });
  numbers("keys_rotated", [](const Layer&, const KvStore& store) { return store.keys_rotated ? 1 : 0; });
  numbers("rotate_on_read", [](const Layer& layer, const KvStore&) { return layer.rotate_on_read ? 1 : 0; });
  const auto texts = [&](auto take) { return of_layers<std::string>(a, take); };
  file.attribute(group, "stored", texts([](const Layer&, const KvStore& store) { return stored_name(store.stored); }));
  const auto form = texts([](const Layer& layer, const KvStore&) { return layer.mla ? "absorbed" : ""; });
  const bool latents = std::any_of(form.begin(), form.end(), [](const std::string& name) { return !name.empty(); });
  if (latents) file.attribute(group, "form", form);
}

void describe_scores(Hdf5Writer& file, const char* group, const Architecture& a) {
  const auto factors = [&](const char* name, auto take) { file.attribute(group, name, of_layers<double>(a, take)); };
  factors("scale", [](const Layer& layer, const KvStore&) { return layer.scale; });
  factors("soft_cap", [](const Layer& layer, const KvStore&) { return layer.soft_cap; });
  file.attribute(group, "window",
                 of_layers<int64_t>(a, [](const Layer& layer, const KvStore&) { return layer.window; }));
  if (a.position.scheme != PositionScheme::alibi) return;
  std::vector<double> slopes = a.position.alibi_slopes;
  for (double& slope : slopes) slope *= a.position.alibi_scale;
  file.attribute(group, "alibi_slopes", slopes);
}

/// What readers turn stored keys by (attribute rotate_on_read), [layers, pairs]; NaN where a layer turns fewer.
void write_rope(Hdf5Writer& file, const Architecture& a) {
  std::vector<std::vector<double>> layers;
  size_t pairs = 0;
  std::vector<std::string> styles;
  for (int64_t layer = 0; layer < a.layer_count(); ++layer) {
    layers.push_back(rope_inverse_frequencies(a.rope_of(layer)));
    pairs = std::max(pairs, layers.back().size());
    styles.emplace_back(a.rope_of(layer).style == RotationStyle::interleaved ? "interleaved" : "rotate_half");
  }
  std::vector<float> values;
  for (const std::vector<double>& frequencies : layers) {
    values.insert(values.end(), frequencies.begin(), frequencies.end());
    values.resize(values.size() + pairs - frequencies.size(), NAN);
  }
  const uint64_t shape[] = {layers.size(), pairs};
  file.group("/rope");
  file.dataset("/rope/inverse_frequencies", std::span<const float>(values), shape);
  file.attribute("/rope", "style", styles);
  file.attribute("/rope", "factor", of_layers<double>(a, [&](const Layer& layer, const KvStore&) {
                   return (layer.rope ? *layer.rope : a.position.rope).scaling.attention_factor;
                 }));
}

}  // namespace

void describe_attention(Hdf5Writer& file, const Architecture& architecture) {
  for (const char* group : {"/k", "/v"}) {
    file.group(group);
    describe_stores(file, group, architecture);
  }
  describe_scores(file, "/k", architecture);
  const bool turned = std::any_of(architecture.layers.begin(), architecture.layers.end(),
                                  [](const Layer& layer) { return layer.rotate_on_read; });
  if (turned) write_rope(file, architecture);
}

}  // namespace headscope::cli
