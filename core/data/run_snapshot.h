#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/arch/architecture.h"
#include "core/data/growing_rows.h"
#include "core/data/query_source.h"
#include "core/data/rope_table.h"

namespace headscope {

/// Row statistics in the order in which they are stored and written to files.
enum class Statistic { entropy, max, argmax, distance, distance_variance, sink, window };
inline constexpr int64_t statistic_count = 7;
inline constexpr std::string_view statistic_names[] = {"entropy",           "max",  "argmax", "distance",
                                                       "distance_variance", "sink", "window"};
inline constexpr int64_t sink_tokens = 1;
inline constexpr int64_t window_tokens = 16;

/// Max-pooled maps of one layer: [q_heads, cells, cells], cell (r, c) as in kernels/attention.h Thumbnails.
struct ThumbnailGrid {
  /// The fewest whole tokens a cell with which `tokens` tokens fit in `cells` cells.
  static int64_t smallest_bin(int64_t tokens, int64_t cells) {
    return tokens > cells ? (tokens + cells - 1) / cells : 1;
  }

  /// What the bin becomes, by doubling, when `tokens` tokens must fit.
  int64_t bin_for(int64_t tokens) const {
    int64_t wanted = bin;
    while (tokens > wanted * cells) wanted *= 2;
    return wanted;
  }

  int64_t cells = 0;
  int64_t bin = 1;  ///< tokens a cell
  std::vector<float> max;
};

/// What a run keeps of one layer for viewers. Row i belongs to token i.
struct LayerRows {
  /// [n, q_heads * key_dim], rotated and as scored, before the scale. No buffer where the run's memory budget has no
  /// room for them: ask queries_of.
  RowsView q;
  RowsView row_max;     ///< [n, q_heads]; log-sum-exp = row_max + log_sum, nats
  RowsView log_sum;     ///< [n, q_heads]
  RowsView statistics;  ///< [n, statistic_count * q_heads], statistic-major; argmax is exact below 2^24
  std::shared_ptr<const ThumbnailGrid> thumbnails;
  /// Where the layer rotates the keys that it reads: of n positions at least. Null elsewhere.
  std::shared_ptr<const KeyAngles> key_angles = nullptr;

  float statistic(Statistic which, int64_t token, int64_t head, int64_t q_heads) const {
    return statistics.row(token)[static_cast<int64_t>(which) * q_heads + head];
  }
};

/// The cache of one owning layer: keys and values as stored, and their bytes as the storage has them.
struct KvRows {
  int64_t layer = 0;
  RowsView k;  ///< [n, kv_heads * key_dim]; the same rows as v where only values are stored
  RowsView v;  ///< [n, kv_heads * value_dim]; the same rows as k for latents, whose start they are, and where only keys
               ///< are stored
  int64_t used_bytes = 0;       ///< written rows x row bytes
  int64_t allocated_bytes = 0;  ///< whole current storage
};

/// A run at one moment, immutable: what tiles, views and files are made from. Safe to share between threads;
/// holding it keeps its buffers alive. On a GPU its numbers are complete, so that any stream may read them.
struct RunSnapshot {
  std::shared_ptr<const Architecture> architecture;
  std::string model;    ///< display name
  std::string version;  ///< of HeadScope
  std::string device, dtype, kernel;
  Element element = Element::f32;  ///< of the cache: keys and values
  std::string linear;              ///< who multiplied weights with many tokens: a kernel's name or "libtorch"
  std::string mla;  ///< latent attention: "absorbed" where that is less work, or "naive"; empty without it
  int threads = 0;
  uint64_t revision = 0;  ///< grows with every appended token
  std::vector<int32_t> ids;
  std::vector<std::string> pieces;  ///< text of each id, empty without a tokenizer
  int64_t prompt_tokens = 0;
  std::vector<LayerRows> layers;
  std::shared_ptr<const QuerySource> query_source;  ///< of layers that have no q; null where all have
  std::vector<KvRows> stores;                       ///< one for each owning layer, ascending
  std::vector<std::string> interventions;           ///< "zero 2:5"; empty when the model is as it is
  std::vector<int64_t> allocated_history;           ///< [n] KV bytes allocated when token i was written
  int64_t viewer_bytes = 0;       ///< queries, layer inputs, statistics, replaced buffers; not what the model needs too
  int64_t viewer_peak_bytes = 0;  ///< largest so far on the model's device, which has queries and layer inputs
  int64_t kv_peak_bytes = 0;      ///< largest KV allocation, growth copies included

  int64_t tokens() const { return static_cast<int64_t>(ids.size()); }
  const KvRows& store_of(int64_t layer) const;
  /// All owning layers together.
  int64_t kv_used_bytes() const;
  int64_t kv_allocated_bytes() const;
  /// The same run with every buffer in the host's memory, queries of all layers too; copies of those that are not.
  RunSnapshot on_host() const;
  /// One number for each layer, as files and JSON have it: 0 for layers that own no cache.
  std::vector<uint64_t> kv_bytes_by_layer(int64_t KvRows::*bytes) const;
};

}  // namespace headscope
