#include "tests/run/schemes.h"

#include <algorithm>
#include <ostream>

#include "tests/run/random_model.h"

namespace headscope {
namespace {

constexpr int64_t head_dim = 6, latent_dim = 10, rope_key = 6;

KvStore store_of(const SharingScheme& scheme, int64_t layer) {
  KvStore store;
  store.layer = layer;
  store.stored = scheme.stored;
  store.kv_heads = scheme.kv_heads;
  store.key_dim = scheme.stored == Stored::latent ? latent_dim + rope_key : head_dim;
  store.value_dim = scheme.stored == Stored::latent ? latent_dim : head_dim;
  const bool half = scheme.stored == Stored::values_only || scheme.stored == Stored::keys_only;
  store.keys_rotated = scheme.rope() && scheme.readers_rotated && !half;
  return store;
}

int64_t window_of(Windows windows, size_t layer) {
  const bool even = layer % 2 == 0;
  switch (windows) {
    case Windows::none:
      break;
    case Windows::sliding:
      return even ? narrow_window : narrow_window - 4;
    case Windows::alternating:
      return even ? narrow_window : 0;
    case Windows::wide:
      return even ? wide_window : wide_window - 4;
  }
  return 0;
}

Layer layer_of(const SharingScheme& scheme, const Layer& base, size_t index) {
  Layer layer = base;
  layer.kv_owner = scheme.owners[index];
  layer.soft_cap = scheme.soft_cap;
  layer.rotate_query = scheme.rope();
  const bool sees_rotated = scheme.readers_rotated || scheme.owners[index] == static_cast<int64_t>(index);
  layer.rotate_on_read = scheme.rope() && sees_rotated && !store_of(scheme, 0).keys_rotated;
  if (scheme.stored == Stored::latent) layer.mla = Mla{.query_rank = 0, .content_dim = 5, .value_dim = 7};
  return layer;
}

/// The widest window of a store's readers, 0 where one of them sees everything.
int64_t kept_by(const Architecture& a, int64_t owner) {
  int64_t kept = 0;
  for (const Layer& layer : a.layers) {
    if (layer.kv_owner != owner) continue;
    if (layer.window == 0) return 0;
    kept = std::max(kept, layer.window);
  }
  return kept;
}

}  // namespace

std::vector<SharingScheme> sharing_schemes() {
  using enum Stored;
  constexpr auto learned = PositionScheme::learned, alibi = PositionScheme::alibi, rope = PositionScheme::rope;
  constexpr auto interleaved = RotationStyle::interleaved;
  const std::vector<int64_t> each = {0, 1, 2, 3}, pairs = {0, 0, 2, 2}, first = {0, 0, 0, 0}, spaced = {0, 0, 2, 2, 2};
  return {
      {"Mha"},
      {"Gqa2", 2},
      {"Mqa", 1},
      {"GqaSoftCap", 2, each, keys_and_values, rope, 3.0},
      {"MqaAlibi", 1, each, keys_and_values, alibi},
      {"Cla2", 2, pairs},
      {"Cla3", 2, {0, 0, 0, 3}},
      {"Mlkv2x2", 2, spaced},
      {"Mlkv1x1", 1, first},
      {"FirstLayersKept", 2, {0, 1, 2, 2, 2}},
      {"LastLayersKept", 2, {0, 0, 0, 3, 4}},
      {"AnyOwners", 2, {0, 1, 0, 1, 4, 0}},
      {"SharedKvMha", 4, each, values_only},
      {"SharedKvGqa2", 2, each, values_only},
      {"SharedKvMqa", 1, each, values_only},
      {"SharedKvMlkv2x1", 1, spaced, values_only},
      {"SharedKvAnyOwners", 2, {0, 1, 0, 1, 4, 0}, values_only},
      {"KeysAreValues", 2, each, values_only, learned},
      {"KeysAreValuesCla2", 4, pairs, values_only, learned},
      {"Slim", 4, each, keys_only},
      {"SlimLearned", 4, each, keys_only, learned},
      {"SlimOneOwner", 4, first, keys_only},
      {"Mla", 1, each, latent},
      {"MlkvOnMla", 1, spaced, latent},
      {"OneLatent", 1, first, latent},
      {.name = "PartialRope", .kv_heads = 2, .rope_dims = 4},
      {.name = "SharedKvPartialRope", .kv_heads = 2, .stored = values_only, .rope_dims = 4},
      {.name = "SharedKvInterleaved", .kv_heads = 2, .stored = values_only, .rope_style = interleaved},
      {.name = "KeysAreValuesUnrotated", .kv_heads = 2, .stored = values_only, .rotated = false},
      {.name = "KeysAreValuesNoPositions", .kv_heads = 2, .stored = values_only, .position = PositionScheme::none},
      {.name = "MlkvAsReleased", .kv_heads = 2, .owners = spaced, .readers_rotated = false},
  };
}

void PrintTo(const SharingScheme& scheme, std::ostream* out) { *out << scheme.name; }

Architecture architecture_of(const SharingScheme& scheme, Windows windows) {
  Architecture a = small_architecture();
  const Layer base = a.layers.front();
  a.context = 130;
  a.layers.clear();
  a.kv_stores.clear();
  if (scheme.position != PositionScheme::rope) a.position = {};
  a.position.scheme = scheme.position;
  if (scheme.position == PositionScheme::rope) {
    a.position.rope.dims = scheme.rope_dims;
    a.position.rope.style = scheme.rope_style;
  }
  if (scheme.position == PositionScheme::alibi) a.position.alibi_slopes = {0.5, 0.25, 0.125, 0.0625};
  for (size_t index = 0; index < scheme.owners.size(); ++index) {
    a.layers.push_back(layer_of(scheme, base, index));
    a.layers.back().window = window_of(windows, index);
    const auto layer = static_cast<int64_t>(index);
    if (scheme.owners[index] == layer) a.kv_stores.push_back(store_of(scheme, layer));
  }
  for (KvStore& store : a.kv_stores) store.window = kept_by(a, store.layer);
  validate(a);
  return a;
}

}  // namespace headscope
