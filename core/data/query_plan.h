#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headscope {

/// What one token's queries and layer inputs take in a run.
struct QueryBytes {
  std::vector<int64_t> queries;  ///< [layers] of a layer's queries
  int64_t input = 0;             ///< of the input of any layer; that of layer 0 is made from the token's id
};

/// What a run keeps so that the queries of every layer can be shown.
struct QueryPlan {
  std::vector<bool> kept;         ///< [layers] queries that are kept
  std::vector<bool> saved_input;  ///< [layers] inputs that are kept; layer 0's never, it costs nothing

  static QueryPlan everything(size_t layers) { return {std::vector(layers, true), std::vector(layers, false)}; }

  bool keeps_everything() const;
  int64_t bytes_per_token(const QueryBytes&) const;
  /// The layer from whose input the queries of `layer` are made: the nearest one at or below it that is there.
  size_t start_of(size_t layer) const;
  /// The layers that must be gone through for the queries of `layer`, itself not counted; 0 where they are kept.
  size_t distance_of(size_t layer) const;

  bool operator==(const QueryPlan&) const = default;
};

/// The plan for `tokens` tokens within `bytes` bytes, by this rule:
///   1. The largest distance of all layers is as small as the bytes allow: nobody waits longer than needed.
///   2. Of the plans of that distance it is one of fewest bytes. Kept queries are those at the ends of what one input
///      serves, where they save the most.
///   3. What is left goes to queries, each time those that save the most layers a byte (their own projection counts as
///      one), the lower layer where two are equal. An input that then serves no layer is not saved.
/// With `within`, only what that plan keeps may be kept, and of inputs only what it saves: a run that has outgrown its
/// plan. Something always fits: nothing kept, and all made from the ids.
QueryPlan plan_queries(const QueryBytes&, int64_t tokens, int64_t bytes, const QueryPlan* within = nullptr);

}  // namespace headscope
