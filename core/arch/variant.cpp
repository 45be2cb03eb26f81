#include <algorithm>
#include <set>

#include "core/arch/architecture.h"
#include "core/base/error.h"

namespace headscope {
namespace {

/// "SharedKV ", "K=V ", "Slim " or nothing: what is left out of the cache. Values that are the keys as they stand are
/// another scheme than keys that are turned values (kv-variants.md 2, A and B).
std::string_view stored_prefix(const Architecture& a, const KvStore& store) {
  switch (store.stored) {
    case Stored::values_only:
      return a.rotated_on_read(store) ? "SharedKV " : "K=V ";
    case Stored::keys_only:
      return "Slim ";
    case Stored::keys_and_values:
    case Stored::latent:
      break;
  }
  return "";
}

std::string heads_name(int64_t q_heads, const KvStore& store) {
  if (store.stored == Stored::latent) return "MLA";
  if (store.kv_heads == q_heads) return "MHA";
  return store.kv_heads == 1 ? "MQA" : fmt::format("GQA-{}", store.kv_heads);
}

/// Every layer reads the nearest owner at or below it.
bool reads_nearest(const Architecture& a) {
  int64_t nearest = 0;
  for (int64_t i = 0; i < a.layer_count(); ++i) {
    if (a.owns_cache(i)) nearest = i;
    if (a.layers[static_cast<size_t>(i)].kv_owner != nearest) return false;
  }
  return true;
}

/// Owners are the layers with i % f == 0; f, or 0 when they are not.
int64_t cla_factor(const Architecture& a) {
  if (!reads_nearest(a)) return 0;
  const int64_t f = a.kv_stores.size() > 1 ? a.kv_stores[1].layer : a.layer_count();
  const auto owners = static_cast<int64_t>(a.kv_stores.size());
  if (owners != (a.layer_count() + f - 1) / f) return 0;
  for (int64_t s = 0; s < owners; ++s) {
    if (a.kv_stores[static_cast<size_t>(s)].layer != s * f) return 0;
  }
  return f;
}

/// Owners are 0 and floor(i L / m) for i in [1, m): MLKV's spacing (kv-variants.md 1.1).
bool spaced_as_mlkv(const Architecture& a) {
  if (!reads_nearest(a)) return false;
  const auto owners = static_cast<int64_t>(a.kv_stores.size());
  for (int64_t s = 0; s < owners; ++s) {
    if (a.kv_stores[static_cast<size_t>(s)].layer != s * a.layer_count() / owners) return false;
  }
  return true;
}

bool same_heads(const Architecture& a) {
  const KvStore& first = a.kv_stores.front();
  return std::all_of(a.kv_stores.begin(), a.kv_stores.end(), [&](const KvStore& store) {
    return store.kv_heads == first.kv_heads && store.stored == first.stored &&
           stored_prefix(a, store) == stored_prefix(a, first);
  });
}

/// The names of the owning layers, each once, in order.
std::string owners_name(const Architecture& a, std::string_view sharing) {
  std::vector<std::string> names;
  for (const KvStore& store : a.kv_stores) {
    const int64_t q_heads = a.layers[static_cast<size_t>(store.layer)].q_heads;
    std::string name = fmt::format("{}{}{}", stored_prefix(a, store), sharing, heads_name(q_heads, store));
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
  }
  return fmt::format("{}", fmt::join(names, " + "));
}

std::string sharing_name(const Architecture& a) {
  const auto owners = static_cast<int64_t>(a.kv_stores.size());
  if (owners == a.layer_count()) return owners_name(a, "");
  const int64_t f = cla_factor(a);
  const KvStore& first = a.kv_stores.front();
  const bool mlkv = spaced_as_mlkv(a) && same_heads(a);
  if (mlkv && first.stored == Stored::latent) return fmt::format("MLKV {} on MLA", owners);
  if (mlkv && f != 2) return fmt::format("{}MLKV {}x{}", stored_prefix(a, first), owners, first.kv_heads);
  if (f > 0) return owners_name(a, fmt::format("CLA-{} ", f));
  return fmt::format("{}, {} of {} layers own KV", owners_name(a, ""), owners, a.layer_count());
}

std::string window_suffix(const Architecture& a) {
  std::set<int64_t> windows;
  int64_t windowed = 0;
  for (const Layer& layer : a.layers) {
    if (layer.window == 0) continue;
    windows.insert(layer.window);
    ++windowed;
  }
  if (windowed == 0) return {};
  std::string out = windows.size() == 1 ? fmt::format(", window {}", *windows.begin())
                                        : fmt::format(", windows {} to {}", *windows.begin(), *windows.rbegin());
  if (windowed < a.layer_count()) out += fmt::format(" in {} of {} layers", windowed, a.layer_count());
  return out;
}

}  // namespace

std::string variant_name(const Architecture& a) { return sharing_name(a) + window_suffix(a); }

std::string experts_text(const Architecture& a) {
  const auto mixed = [](const Layer& layer) { return layer.mlp.experts > 1; };
  const auto first = std::find_if(a.layers.begin(), a.layers.end(), mixed);
  if (first == a.layers.end()) return "";
  const auto layers = std::count_if(a.layers.begin(), a.layers.end(), mixed);
  const std::string where =
      layers == a.layer_count() ? "" : fmt::format(", in {} of {} layers", layers, a.layer_count());
  return fmt::format("{} experts, {} a token{}", first->mlp.experts, first->mlp.experts_active, where);
}

}  // namespace headscope
