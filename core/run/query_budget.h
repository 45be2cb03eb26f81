#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/data/query_plan.h"
#include "core/run/attention_step.h"

namespace headscope {

/// What a token's queries and layer inputs take: queries in the type that meets the cache, inputs in f32, as layers
/// hand them on.
QueryBytes query_bytes(const Architecture&, Element cache);

/// Bytes for queries and layer inputs where nobody says how many: nothing (all queries are kept) on the host; on a GPU
/// half of what is free now, to the driver or to LibTorch, beside the cache of `tokens` tokens.
std::optional<int64_t> usual_query_bytes(const Device&, const Architecture&, Element cache, int64_t tokens);

/// What one run keeps of queries and layer inputs. Whole buffers count, and where one grows, the old and the new one
/// together. As much as the largest layer's queries take, but no more than half, is left for queries that are made anew
/// (core/run/query_maker.h). What readers of older snapshots hold of buffers that were replaced or given up comes on
/// top. One thread uses it.
class QueryBudget {
 public:
  /// `bytes`: nothing keeps all queries. Buffers are made for `first_capacity` tokens and for never more than the
  /// context.
  QueryBudget(std::shared_ptr<const Architecture>, Element cache, std::shared_ptr<MemoryLedger>,
              std::optional<int64_t> bytes, int64_t first_capacity);

  /// Before rows are written, so that there are `tokens` of them then: gives the records buffers by the plan. The first
  /// call makes the plan; where later ones need larger buffers than the budget has room for, the records lose some, and
  /// never get one back, because rows of earlier tokens would be missing.
  void make_room(std::vector<LayerRecord>&, int64_t tokens);
  const QueryPlan& plan() const { return plan_; }
  bool limited() const { return bytes_.has_value(); }
  /// Of a limited budget, what is left for queries that are made anew.
  int64_t left_bytes() const { return left_; }

 private:
  void plan_for(int64_t capacity, int64_t copied_bytes);
  void apply_to(std::vector<LayerRecord>&) const;

  std::shared_ptr<const Architecture> architecture_;
  Element element_;
  std::shared_ptr<MemoryLedger> ledger_;
  std::optional<int64_t> bytes_;
  int64_t first_capacity_;
  QueryBytes each_;
  QueryPlan plan_;  ///< of no layers: not made yet
  int64_t left_ = 0;
};

}  // namespace headscope
