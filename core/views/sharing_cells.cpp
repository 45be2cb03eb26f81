#include "core/views/sharing_cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/base/text.h"

namespace headscope {
namespace {

bool same_kind(const Architecture& a, const KvStore& one, const KvStore& other) {
  return one.stored == other.stored && a.rotated_on_read(one) == a.rotated_on_read(other);
}

/// What a cell of such a cache is.
std::string cell_text(const KvStore& store, const KvCell& cell) {
  if (cell.letters == "K=V") return "stored once, as key and value";
  if (store.stored == Stored::latent) return cell.letters == "latent" ? "for all heads" : "rope key";
  if (cell.stored) return "stored";
  return cell.letters == "K" ? "= RoPE(V), when read" : "made from K when read";
}

}  // namespace

std::vector<KvCell> kv_cells(const Architecture& a, const KvStore& store) {
  switch (store.stored) {
    case Stored::keys_and_values:
      break;
    case Stored::values_only:
      if (!a.rotated_on_read(store)) return {{"K=V", true, 27}};
      return {{"K", false}, {"V"}};
    case Stored::keys_only:
      return {{"K"}, {"V", false}};
    case Stored::latent:
      if (store.rope_key() == 0) return {{"latent", true, 46}};
      return {{"latent", true, 46}, {"K"}};
  }
  return {{"K"}, {"V"}};
}

double width_of(const std::vector<KvCell>& cells) {
  double width = cell_gap * (static_cast<double>(cells.size()) - 1);
  for (const KvCell& cell : cells) width += cell.width;
  return width;
}

double SharingKeyItem::width() const {
  constexpr double letter = 6.4;  // of a caption, on average at most
  const double drawn = sign == Sign::query_head ? 8 : sign == Sign::window ? window_sign_width : width_of(cells);
  return drawn + 5 + std::ceil(letter * static_cast<double>(text.size())) + 10;
}

std::vector<SharingKeyItem> sharing_key(const Architecture& a) {
  using Sign = SharingKeyItem::Sign;
  std::vector<SharingKeyItem> out{{Sign::query_head, {}, "query head"}};
  for (size_t i = 0; i < a.kv_stores.size(); ++i) {
    const KvStore& store = a.kv_stores[i];
    const auto before = a.kv_stores.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::any_of(a.kv_stores.begin(), before, [&](const KvStore& other) { return same_kind(a, other, store); }))
      continue;
    const std::vector<KvCell> cells = kv_cells(a, store);
    if (store.stored == Stored::keys_and_values) {
      out.push_back({Sign::cells, cells, "KV head it reads"});
      continue;
    }
    for (const bool stored : {true, false}) {
      for (const KvCell& cell : cells) {
        if (cell.stored == stored) out.push_back({Sign::cells, {cell}, cell_text(store, cell)});
      }
    }
  }
  if (has_windows(a)) out.push_back({Sign::window, {}, "tokens a query sees"});
  return out;
}

std::string window_text(const Layer& layer) {
  return layer.window == 0 ? "all" : fmt::format("last {}", format_count(static_cast<uint64_t>(layer.window)));
}

bool has_windows(const Architecture& a) {
  return std::any_of(a.layers.begin(), a.layers.end(), [](const Layer& layer) { return layer.window > 0; });
}

std::string_view stored_remark(const Architecture& a) {
  const KvStore& first = a.kv_stores.front();
  for (const KvStore& store : a.kv_stores) {
    if (!same_kind(a, store, first)) return "";
  }
  if (first.stored == Stored::values_only)
    return a.rotated_on_read(first) ? "; only values are stored" : "; keys and values are the same rows";
  return first.stored == Stored::keys_only ? "; only keys are stored" : "";
}

}  // namespace headscope
