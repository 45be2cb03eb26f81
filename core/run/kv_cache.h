#pragma once

#include <memory>
#include <vector>

#include "core/data/growing_rows.h"
#include "core/data/run_snapshot.h"
#include "core/data/sliding_rows.h"

namespace headscope {

struct CacheOptions {
  int64_t first_capacity = 16;  ///< rows made at the first write; of a window's cache no more than SlidingRows needs
  int64_t most_at_once = 4096;  ///< tokens that are written at once, at most
  Element element = Element::f32;
  bool history = true;  ///< what leaves a sliding window is kept for viewers, and counted as theirs
};

/// The keys, or the values, that one layer wrote: [n, width], or the last of them where a window is all that is read.
class CacheRows {
 public:
  CacheRows() = default;
  /// `window` 0: all rows are kept, at most `most_rows`.
  CacheRows(std::shared_ptr<MemoryLedger>, int64_t width, int64_t window, int64_t most_rows, const CacheOptions&);

  /// Copies rows [count, width] behind what is there: f32 rows, rounded where these are bf16.
  void append(const float* rows, int64_t count);
  /// The same of rows that are of this element already.
  void append_as_is(const void* rows, int64_t count);
  /// Makes room for one more row, which the device writes, and returns where it belongs: twice where a window's rows
  /// are kept for viewers, too. It counts after publish_one().
  std::vector<RowsPlace> places_of_next();
  void publish_one();
  /// Takes back the newest rows, down to `rows` of the sequence.
  void truncate(int64_t rows);
  /// The first row that the model can still read, and where it lies.
  int64_t first() const { return sliding_ ? live_.first() : 0; }
  /// Rows from there on, as kernels take them.
  InputRows rows() const {
    return {sliding_ ? live_.row(first()) : all_.view().buffer->row(0), 0, 0, all_.width(), element_};
  }
  /// Every row, for viewers; without history nothing where there is a window.
  RowsView history() const { return all_.view(); }
  int64_t row_bytes() const { return all_.row_bytes(); }
  int64_t used_bytes() const { return sliding_ ? live_.used_bytes() : all_.used_bytes(); }
  int64_t allocated_bytes() const { return sliding_ ? live_.allocated_bytes() : all_.allocated_bytes(); }
  CacheRows copy() const;

 private:
  bool sliding_ = false, history_ = true;
  Element element_ = Element::f32;
  GrowingRows all_;  ///< with a window: for viewers
  SlidingRows live_;
};

/// The keys and values of one sequence, one store for each owning layer (design.md 5). Bytes are read from the storage,
/// never from a formula.
class KvCache {
 public:
  KvCache(const Architecture&, std::shared_ptr<MemoryLedger>, const CacheOptions&);

  struct Store {
    int64_t layer = 0;
    Stored stored = Stored::keys_and_values;
    CacheRows k;  ///< rows of kv_heads * key_dim; empty where only values are stored
    CacheRows v;  ///< rows of kv_heads * value_dim; empty where values are a part of keys (latents) or made from them

    /// What a layer's keys, and its values, are read from.
    const CacheRows& keys() const { return stored == Stored::values_only ? v : k; }
    const CacheRows& values() const { return stored == Stored::latent || stored == Stored::keys_only ? k : v; }
    bool has_k() const { return &keys() == &k; }
    bool has_v() const { return &values() == &v; }
    int64_t row_bytes() const { return k.row_bytes() + v.row_bytes(); }  ///< of one token
    int64_t used_bytes() const { return k.used_bytes() + v.used_bytes(); }
    int64_t allocated_bytes() const { return k.allocated_bytes() + v.allocated_bytes(); }
  };

  /// The store that `layer` owns or reads.
  Store& store_of(int64_t layer) { return stores_[index_.at(static_cast<size_t>(layer))]; }
  const Store& store_of(int64_t layer) const { return stores_[index_.at(static_cast<size_t>(layer))]; }
  /// Takes back the newest rows of every store, down to `rows`.
  void truncate(int64_t rows);
  int64_t used_bytes() const;
  int64_t allocated_bytes() const;
  /// What viewers see of it; needs history.
  std::vector<KvRows> rows() const;
  /// The same cache in storage of its own, with the same capacities.
  KvCache copy() const;

 private:
  std::vector<Store> stores_;
  std::vector<size_t> index_;  ///< by layer: its owner's place in stores_
};

/// Numbers of one token's queries of a layer, as absorbed scores take them.
inline int64_t query_width(const Architecture& architecture, int64_t layer) {
  return architecture.layers[static_cast<size_t>(layer)].q_heads * architecture.store_of(layer).key_dim;
}

/// Type of the queries that meet such a cache: its own. Those of latents stay f32, because keys that are expanded from
/// latents, with queries of their own, must give the same scores.
inline Element query_element(const KvStore& store, Element cache) {
  return store.stored == Stored::latent ? Element::f32 : cache;
}

/// Most tokens that go through the layers at once, of `wanted`. The cache of a window holds it and what is written at
/// once, so where there are windows the largest of them, or 256, bounds that.
int64_t tokens_at_once(const Architecture&, int64_t wanted);

}  // namespace headscope
