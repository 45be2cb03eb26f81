#include "core/run/kv_cache.h"

namespace headscope {

KvCache::KvCache(const Architecture& architecture, std::shared_ptr<MemoryLedger> ledger, int64_t first_capacity) {
  for (const KvStore& store : architecture.kv_stores) {
    const auto rows = [&](int64_t dim) {
      return GrowingRows(ledger, MemoryPurpose::kv, store.kv_heads * dim, first_capacity, architecture.context);
    };
    stores_.push_back({store.layer, rows(store.key_dim), rows(store.value_dim), store.stored});
  }
  for (const Layer& layer : architecture.layers) {
    size_t place = 0;
    while (stores_.at(place).layer != layer.kv_owner) ++place;
    index_.push_back(place);
  }
}

KvRows KvCache::Store::rows() const {
  const RowsView keys = stored == Stored::values_only ? v.view() : k.view();
  const bool no_values = stored == Stored::latent || stored == Stored::keys_only;
  const RowsView values = no_values ? k.view() : v.view();
  return {layer, keys, values, used_bytes(), allocated_bytes()};
}

void KvCache::truncate(int64_t rows) {
  for (Store& store : stores_) {
    store.k.truncate(rows);
    store.v.truncate(rows);
  }
}

int64_t KvCache::allocated_bytes() const {
  int64_t bytes = 0;
  for (const Store& store : stores_) bytes += store.allocated_bytes();
  return bytes;
}

std::vector<KvRows> KvCache::rows() const {
  std::vector<KvRows> rows;
  for (const Store& store : stores_) rows.push_back(store.rows());
  return rows;
}

}  // namespace headscope
