#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>

#include "core/data/growing_rows.h"

namespace headscope {

struct RunSnapshot;

/// Makes the queries that a run does not keep (core/run/query_maker.h). Thread-safe.
class QuerySource {
 public:
  virtual ~QuerySource() = default;

  /// The queries of a layer, of all tokens of the snapshot, which is the one that holds this source: what
  /// LayerRows::q would be. Looks at `stop` between layers. Throws Cancelled, and Error when memory runs out or the
  /// device fails.
  virtual RowsView make(const RunSnapshot&, int64_t layer, std::stop_token) const = 0;
  /// Those of the first `rows` tokens if they have been made and are still there. Never waits.
  virtual std::optional<RowsView> made(int64_t layer, int64_t rows) const = 0;
};

/// The queries of a layer [tokens, q_heads * key_dim], kept or made anew, which may take as long as the prompt took to
/// run: not for a thread that must not wait. May be called from any thread.
RowsView queries_of(const RunSnapshot&, int64_t layer, std::stop_token = {});

/// Those of the first `rows` tokens at least, where they are kept or have been made. Never waits.
std::optional<RowsView> queries_at_hand(const RunSnapshot&, int64_t layer, int64_t rows);

}  // namespace headscope
