#include "core/arch/what_if.h"

#include <algorithm>
#include <numeric>

#include "core/base/error.h"

namespace headscope {
namespace {

struct Head {
  int64_t key_dim, value_dim;
};

/// The size of a head; of one that reads latents, what it makes of them.
Head head_of(const Architecture& a, int64_t layer) {
  const auto& mla = a.layers[static_cast<size_t>(layer)].mla;
  if (mla) return {mla->value_dim, mla->value_dim};
  const KvStore& store = a.store_of(layer);
  return {store.key_dim, store.value_dim};
}

/// Whether the keys that a layer makes are turned, when they are written or when it reads them.
bool rotates_keys(const Architecture& a, int64_t layer) {
  return a.store_of(layer).keys_rotated || a.layers[static_cast<size_t>(layer)].rotate_on_read;
}

bool owns(const Architecture& a, const Scheme& scheme, int64_t layer) {
  if (scheme.cla) return layer % *scheme.cla == 0;
  if (scheme.owners) {
    for (int64_t i = 0; i < *scheme.owners; ++i) {
      if (i * a.layer_count() / *scheme.owners == layer) return true;
    }
    return false;
  }
  return scheme.kv_heads.has_value() || a.owns_cache(layer);
}

/// The owner of each layer: the nearest below, or the model's own where the scheme says nothing of owners.
int64_t owner_of(const Architecture& a, const Scheme& scheme, int64_t layer) {
  const bool named = scheme.cla || scheme.owners || scheme.kv_heads;
  if (!named) return a.layers[static_cast<size_t>(layer)].kv_owner;
  while (!owns(a, scheme, layer)) --layer;
  return layer;
}

void check_fit(const Architecture& a, const Scheme& scheme) {
  const auto check = [&](std::optional<int64_t> count, std::string_view what) {
    if (!count || *count <= a.layer_count()) return;
    fail("{} does not fit: it has {} {}, and the model has {} layers", scheme.name, *count, what, a.layer_count());
  };
  check(scheme.cla, "layers to a cache");
  check(scheme.owners, "owning layers");
  for (int64_t i = 0; scheme.kv_heads.value_or(0) > 0 && i < a.layer_count(); ++i) {
    const int64_t heads = a.layers[static_cast<size_t>(i)].q_heads;
    if (heads % *scheme.kv_heads == 0) continue;
    fail("{} does not fit: {} KV heads do not divide the {} query heads of layer {}", scheme.name, *scheme.kv_heads,
         heads, i);
  }
}

/// One store of two is enough only where one can be made from the other.
void check_single_store(const Architecture& a, const Scheme& scheme, const KvStore& store, int64_t q_heads) {
  if (store.stored != Stored::values_only && store.stored != Stored::keys_only) return;
  if (store.key_dim != store.value_dim) {
    fail("{} does not fit: keys of {} and values of {} dimensions cannot be one", scheme.name, store.key_dim,
         store.value_dim);
  }
  if (store.stored == Stored::keys_only && a.layers[static_cast<size_t>(store.layer)].qk_norm != QkNorm::none) {
    fail("{} does not fit: values cannot be rebuilt from keys that the model normalises", scheme.name);
  }
  if (store.stored == Stored::keys_only && q_heads * store.key_dim != a.d_model) {
    fail("{} does not fit: it inverts the key projection, which is {} x {} and not square", scheme.name,
         q_heads * store.key_dim, a.d_model);
  }
}

KvStore store_for(const Architecture& a, const Scheme& scheme, int64_t layer) {
  const KvStore& old = a.store_of(layer);
  const Head head = head_of(a, layer);
  const int64_t q_heads = a.layers[static_cast<size_t>(layer)].q_heads;
  KvStore out;
  out.layer = layer;
  out.stored = scheme.stored.value_or(scheme.kv_heads ? Stored::keys_and_values : old.stored);
  const bool was_latent = old.stored == Stored::latent, latent = out.stored == Stored::latent;
  const int64_t kept = was_latent ? q_heads : old.kv_heads;
  out.kv_heads = latent ? 1 : scheme.kv_heads.value_or(kept);
  if (out.kv_heads == 0) out.kv_heads = q_heads;
  out.key_dim = latent ? 4 * head.value_dim + head.value_dim / 2 : head.key_dim;
  out.value_dim = latent ? 4 * head.value_dim : head.value_dim;
  if (latent && was_latent) {
    out.key_dim = old.key_dim;
    out.value_dim = old.value_dim;
  }
  const bool one_store = out.stored == Stored::values_only || out.stored == Stored::keys_only;
  out.keys_rotated = rotates_keys(a, layer) && !one_store;
  check_single_store(a, scheme, out, q_heads);
  return out;
}

/// What a layer needs to read its new cache.
void fit_layer(const Architecture& a, int64_t index, const KvStore& store, Layer& layer) {
  const bool latent = store.stored == Stored::latent;
  const Head head = head_of(a, index);
  if (!latent) layer.mla.reset();
  if (latent && !layer.mla) layer.mla = Mla{.content_dim = head.value_dim, .value_dim = head.value_dim};
  if (latent) layer.qk_norm = QkNorm::none;
  layer.rotate_on_read = rotates_keys(a, store.layer) && !store.keys_rotated;
}

/// A window for each cache: as long as what any reader's cache kept before.
void set_windows(const Architecture& a, Architecture& out) {
  for (KvStore& store : out.kv_stores) {
    bool all = false;
    for (int64_t i = 0; i < out.layer_count(); ++i) {
      if (out.layers[static_cast<size_t>(i)].kv_owner != store.layer) continue;
      const int64_t window = a.store_of(i).window;
      all = all || window == 0;
      store.window = std::max(store.window, window);
    }
    if (all) store.window = 0;
  }
}

/// Rope turns no more dimensions than keys have.
void fit_rope(const Scheme& scheme, Architecture& out) {
  if (out.position.scheme != PositionScheme::rope) return;
  for (int64_t i = 0; i < out.layer_count(); ++i) {
    Layer& layer = out.layers[static_cast<size_t>(i)];
    const KvStore& store = out.store_of(i);
    const int64_t room = (store.key_dim - store.rope_offset()) / 2 * 2;
    if (room < 2) fail("{} does not fit: its rope key would have {} dimensions", scheme.name, room);
    Rope& rope = layer.rope ? *layer.rope : out.position.rope;
    rope.dims = std::min(rope.dims, room);
  }
}

/// The largest divisor of `number` that is at most `most`.
int64_t divisor(int64_t number, int64_t most) {
  int64_t found = std::max<int64_t>(1, std::min(number, most));
  while (number % found != 0) --found;
  return found;
}

}  // namespace

std::vector<Scheme> usual_schemes(const Architecture& a) {
  int64_t heads = 0;  // that divide the query heads of every layer
  for (const Layer& layer : a.layers) heads = std::gcd(heads, layer.q_heads);
  const int64_t groups = divisor(heads, std::min<int64_t>(8, heads / 2));
  std::vector<std::string> names = {"mha"};
  if (groups > 1) names.push_back(fmt::format("gqa-{}", groups));
  names.push_back("mqa");
  names.push_back(fmt::format("mlkv-{}x{}", std::max<int64_t>(1, a.layer_count() / 3),
                              divisor(heads, std::max<int64_t>(1, heads / 4))));
  if (a.layer_count() > 1) names.push_back("cla-2");
  names.push_back("sharedkv");
  names.push_back("mla");
  std::vector<Scheme> out;
  for (const std::string& name : names) {
    Scheme scheme = parse_scheme(name);
    try {
      if (!same_cache(a, what_if(a, scheme))) out.push_back(std::move(scheme));
    } catch (const Error&) {  // does not fit this model
      continue;
    }
  }
  return out;
}

Architecture what_if(const Architecture& a, const Scheme& scheme) {
  check_fit(a, scheme);
  Architecture out = a;
  out.family = "headscope";  // the one family that can hold any sharing
  out.kv_stores.clear();
  for (int64_t i = 0; i < a.layer_count(); ++i) {
    Layer& layer = out.layers[static_cast<size_t>(i)];
    layer.kv_owner = owner_of(a, scheme, i);
    if (layer.kv_owner == i) out.kv_stores.push_back(store_for(a, scheme, i));
    fit_layer(a, i, out.store_of(i), layer);
  }
  set_windows(a, out);
  fit_rope(scheme, out);
  validate(out);
  return out;
}

bool same_cache(const Architecture& a, const Architecture& b) {
  const auto same_store = [](const KvStore& x, const KvStore& y) {
    return x.layer == y.layer && x.kv_heads == y.kv_heads && x.key_dim == y.key_dim && x.value_dim == y.value_dim &&
           x.window == y.window && x.stored == y.stored;
  };
  const auto same_owner = [](const Layer& x, const Layer& y) { return x.kv_owner == y.kv_owner; };
  return std::equal(a.layers.begin(), a.layers.end(), b.layers.begin(), b.layers.end(), same_owner) &&
         std::equal(a.kv_stores.begin(), a.kv_stores.end(), b.kv_stores.begin(), b.kv_stores.end(), same_store);
}

}  // namespace headscope
