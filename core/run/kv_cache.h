#pragma once

#include <memory>
#include <vector>

#include "core/data/growing_rows.h"
#include "core/data/run_snapshot.h"

namespace headscope {

/// The keys and values of one run, one store for each owning layer (design.md 5). Bytes are read from the storage,
/// never from a formula.
class KvCache {
 public:
  /// `first_capacity` rows are made at the first write.
  KvCache(const Architecture&, std::shared_ptr<MemoryLedger>, int64_t first_capacity);

  struct Store {
    int64_t layer = 0;
    GrowingRows k;  ///< [n, kv_heads * key_dim]; empty where only values are stored
    GrowingRows v;  ///< [n, kv_heads * value_dim]; empty where values are a part of keys (latents) or made from them
    Stored stored = Stored::keys_and_values;
    KvRows rows() const;
    int64_t used_bytes() const { return k.used_bytes() + v.used_bytes(); }
    int64_t allocated_bytes() const { return k.allocated_bytes() + v.allocated_bytes(); }
  };

  /// The store that `layer` owns or reads.
  Store& store_of(int64_t layer) { return stores_[index_.at(static_cast<size_t>(layer))]; }
  /// Takes back the newest rows of every store, down to `rows`.
  void truncate(int64_t rows);
  int64_t allocated_bytes() const;
  std::vector<KvRows> rows() const;

 private:
  std::vector<Store> stores_;
  std::vector<size_t> index_;  ///< by layer: its owner's place in stores_
};

}  // namespace headscope
