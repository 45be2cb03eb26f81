#include "core/run/kv_cache.h"

#include <algorithm>
#include <cstring>

namespace headscope {

CacheRows::CacheRows(std::shared_ptr<MemoryLedger> ledger, int64_t width, int64_t window, int64_t most_rows,
                     const CacheOptions& options)
    : sliding_(window > 0),
      history_(options.history || !sliding_),
      element_(options.element),
      all_(ledger, sliding_ ? MemoryPurpose::viewer : MemoryPurpose::kv, width, options.first_capacity, most_rows,
           options.element) {
  if (sliding_) {
    live_ = SlidingRows(ledger, width, window, options.most_at_once, options.first_capacity, options.element);
  }
}

void CacheRows::append(const float* rows, int64_t count) {
  if (history_) all_.append(rows, count);
  if (sliding_) live_.append(rows, count);
}

void CacheRows::append_as_is(const void* rows, int64_t count) {
  if (history_) all_.append_as_is(rows, count);
  if (sliding_) live_.append_as_is(rows, count);
}

std::vector<RowsPlace> CacheRows::places_of_next() {
  std::vector<RowsPlace> places;
  if (history_) places.push_back(all_.place_of_next());
  if (sliding_) places.push_back(live_.place_of_next());
  return places;
}

void CacheRows::publish_one() {
  if (history_) all_.publish(1);
  if (sliding_) live_.publish(1);
}

void CacheRows::truncate(int64_t rows) {
  all_.truncate(rows);
  live_.truncate(rows);
}

CacheRows CacheRows::copy() const {
  CacheRows out = *this;
  out.all_ = all_.copy();
  out.live_ = live_.copy();
  return out;
}

KvCache::KvCache(const Architecture& architecture, std::shared_ptr<MemoryLedger> ledger, const CacheOptions& options) {
  for (const KvStore& shape : architecture.kv_stores) {
    const auto rows = [&](int64_t dim) {
      return CacheRows(ledger, shape.kv_heads * dim, shape.window, architecture.context, options);
    };
    Store& store = stores_.emplace_back(Store{shape.layer, shape.stored, {}, {}});
    if (store.has_k()) store.k = rows(shape.key_dim);
    if (store.has_v()) store.v = rows(shape.value_dim);
  }
  for (const Layer& layer : architecture.layers) {
    size_t place = 0;
    while (stores_.at(place).layer != layer.kv_owner) ++place;
    index_.push_back(place);
  }
}

void KvCache::truncate(int64_t rows) {
  for (Store& store : stores_) {
    store.k.truncate(rows);
    store.v.truncate(rows);
  }
}

int64_t KvCache::used_bytes() const {
  int64_t bytes = 0;
  for (const Store& store : stores_) bytes += store.used_bytes();
  return bytes;
}

int64_t KvCache::allocated_bytes() const {
  int64_t bytes = 0;
  for (const Store& store : stores_) bytes += store.allocated_bytes();
  return bytes;
}

std::vector<KvRows> KvCache::rows() const {
  std::vector<KvRows> rows;
  for (const Store& store : stores_) {
    rows.push_back(
        {store.layer, store.keys().history(), store.values().history(), store.used_bytes(), store.allocated_bytes()});
  }
  return rows;
}

KvCache KvCache::copy() const {
  KvCache out = *this;
  for (Store& store : out.stores_) {
    store.k = store.k.copy();
    store.v = store.v.copy();
  }
  return out;
}

int64_t tokens_at_once(const Architecture& architecture, int64_t wanted) {
  constexpr int64_t fewest = 256;  // below, the layers work at half their speed
  int64_t window = 0;
  for (const KvStore& store : architecture.kv_stores) window = std::max(window, store.window);
  return window > 0 ? std::min(wanted, std::max(window, fewest)) : wanted;
}

}  // namespace headscope
