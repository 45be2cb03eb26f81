#include "core/data/run_snapshot.h"

#include <algorithm>

namespace headscope {
namespace {

int64_t total(const std::vector<KvRows>& stores, int64_t KvRows::*bytes) {
  int64_t sum = 0;
  for (const KvRows& store : stores) sum += store.*bytes;
  return sum;
}

}  // namespace

const KvRows& RunSnapshot::store_of(int64_t layer) const {
  const int64_t owner = architecture->layers.at(static_cast<size_t>(layer)).kv_owner;
  const auto found = std::find_if(stores.begin(), stores.end(), [&](const KvRows& s) { return s.layer == owner; });
  if (found == stores.end()) throw std::logic_error("RunSnapshot: no cache for the owning layer");
  return *found;
}

RunSnapshot RunSnapshot::on_host() const {
  RunSnapshot here = *this;
  const auto bring = [](RowsView& rows) {
    if (rows.buffer) rows = rows.on_host(0, rows.rows);
  };
  here.query_source = nullptr;
  for (size_t index = 0; index < layers.size(); ++index) {
    LayerRows& layer = here.layers[index];
    if (tokens() > 0) layer.q = queries_of(*this, static_cast<int64_t>(index));
    bring(layer.q);
    if (layer.key_angles) layer.key_angles = layer.key_angles->on_host();
  }
  for (KvRows& store : here.stores) {
    bring(store.k);
    bring(store.v);
  }
  return here;
}

std::vector<uint64_t> RunSnapshot::kv_bytes_by_layer(int64_t KvRows::*bytes) const {
  std::vector<uint64_t> list(layers.size(), 0);
  for (const KvRows& store : stores) list[static_cast<size_t>(store.layer)] = static_cast<uint64_t>(store.*bytes);
  return list;
}

int64_t RunSnapshot::kv_used_bytes() const { return total(stores, &KvRows::used_bytes); }

int64_t RunSnapshot::kv_allocated_bytes() const { return total(stores, &KvRows::allocated_bytes); }

}  // namespace headscope
