#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "core/data/query_source.h"
#include "core/run/layer_stack.h"

namespace headscope {

/// Tokens that went through the layers together: up to token `end`, from where the ones before ended.
struct PastChunk {
  int64_t end = 0;
  int64_t pass_end = 0;  ///< of the call that they belonged to, which dynamic rope goes by
};

/// What a snapshot has of the past of its run. All of it is immutable.
struct Past {
  std::vector<PastChunk> chunks;
  std::vector<RowsView> inputs;  ///< [layers] saved inputs [tokens, d_model]; no buffer where none are saved
};

/// Makes the queries that a run does not keep, by sending its tokens through the layers again, from the nearest saved
/// input at or below the layer, in the chunks they came in, with the keys and values of the cache. Nothing else enters:
/// what a token becomes depends on its input, the cache, the model and the interventions. On the host the queries have
/// the bits that would have been kept.
///
/// One for each run, shared by its snapshots. The layers that were made last stay within a number of bytes, the least
/// recently used out, the last one in any case; a longer snapshot of the same run goes on where they end, and so does
/// who asks again after a stop, with the first chunk that was not done.
///
/// Thread-safe, and so may be called from other threads than the run's: a model is immutable, and the stack of layers
/// here is its own and used by one caller after the other. LibTorch gives each thread that calls it a team of its own.
class QueryMaker {
 public:
  QueryMaker(std::shared_ptr<const Model>, std::vector<Intervention>, MlaOptions, std::shared_ptr<MemoryLedger>);

  /// As QuerySource has them. The snapshot is the one whose past it is.
  RowsView make(const RunSnapshot&, const Past&, int64_t layer, const std::stop_token&);
  std::optional<RowsView> made(int64_t layer, int64_t rows) const;
  /// Bytes that layers which have been made may take.
  void limit(int64_t bytes);

 private:
  struct Made {
    int64_t layer = 0;
    RowsView view;      ///< of `rows`
    GrowingRows rows;   ///< touched by who makes them
    int64_t bytes = 0;  ///< that it takes, or will
  };
  Made& begin(const RunSnapshot&, int64_t layer);
  /// Returns what was dropped, to be freed when nobody waits for the lock.
  [[nodiscard]] std::list<Made> drop_beyond_limit();
  at::Tensor queries_of_chunk(const RunSnapshot&, const Past&, int64_t layer, int64_t position, const PastChunk&,
                              const std::stop_token&);

  std::shared_ptr<const Model> model_;
  std::shared_ptr<MemoryLedger> ledger_;
  std::mutex making_;  ///< guards the stack and rows of Made
  LayerStack stack_;
  mutable std::mutex mutex_;      ///< guards what follows, and is never held for long
  mutable std::list<Made> made_;  ///< most recently used first
  const Made* in_work_ = nullptr;
  int64_t limit_ = 0;
};

/// The source of one snapshot.
class SnapshotQueries final : public QuerySource {
 public:
  SnapshotQueries(std::shared_ptr<QueryMaker> maker, Past past) : maker_(std::move(maker)), past_(std::move(past)) {}
  RowsView make(const RunSnapshot& run, int64_t layer, std::stop_token stop) const override {
    return maker_->make(run, past_, layer, stop);
  }
  std::optional<RowsView> made(int64_t layer, int64_t rows) const override { return maker_->made(layer, rows); }

 private:
  std::shared_ptr<QueryMaker> maker_;
  Past past_;
};

}  // namespace headscope
