#include "core/data/query_plan.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <stdexcept>

namespace headscope {
namespace {

constexpr int64_t never = std::numeric_limits<int64_t>::max();

/// Sums that stop at `never`.
int64_t plus(int64_t a, int64_t b) { return a > never - b ? never : a + b; }

/// The plans of one largest distance, by the layers whose inputs are saved: which one takes the fewest bytes.
class Cheapest {
 public:
  Cheapest(const QueryBytes& bytes, const QueryPlan* within, size_t distance)
      : bytes_(bytes), within_(within), distance_(distance), layers_(bytes.queries.size()) {}

  std::optional<QueryPlan> plan() {
    fewest_.assign(layers_ + 1, never);
    before_.assign(layers_ + 1, 0);
    fewest_[0] = 0;
    for (size_t end = 1; end <= layers_; ++end) {
      if (end < layers_ && within_ != nullptr && !within_->saved_input[end]) continue;
      for (size_t start = 0; start < end; ++start) consider(start, end);
    }
    if (fewest_[layers_] == never) return std::nullopt;
    return traced();
  }

 private:
  /// Inputs saved at `start` and next at `end`: what lies too far behind `start` must be kept.
  void consider(size_t start, size_t end) {
    int64_t bytes = plus(fewest_[start], end < layers_ ? bytes_.input : 0);
    for (size_t layer = start + distance_ + 1; layer < end; ++layer) {
      const bool possible = within_ == nullptr || within_->kept[layer];
      bytes = possible ? plus(bytes, bytes_.queries[layer]) : never;
    }
    if (bytes >= fewest_[end]) return;
    fewest_[end] = bytes;
    before_[end] = start;
  }

  QueryPlan traced() const {
    QueryPlan plan{std::vector(layers_, false), std::vector(layers_, false)};
    for (size_t end = layers_; end > 0; end = before_[end]) {
      if (end < layers_) plan.saved_input[end] = true;
      for (size_t layer = before_[end] + distance_ + 1; layer < end; ++layer) plan.kept[layer] = true;
    }
    return plan;
  }

  const QueryBytes& bytes_;
  const QueryPlan* within_;
  size_t distance_, layers_;
  std::vector<int64_t> fewest_;  ///< a token, of all before the layer and its own input
  std::vector<size_t> before_;   ///< where the input before is saved
};

/// Layers that need not be gone through for each byte, when the queries are kept.
double saved_by(const QueryPlan& plan, const QueryBytes& bytes, size_t layer) {
  return static_cast<double>(plan.distance_of(layer) + 1) / static_cast<double>(bytes.queries[layer]);
}

void keep_more(QueryPlan& plan, const QueryBytes& bytes, int64_t bytes_per_token, const QueryPlan* within) {
  int64_t left = bytes_per_token - plan.bytes_per_token(bytes);
  while (true) {
    std::optional<size_t> best;
    for (size_t layer = 0; layer < plan.kept.size(); ++layer) {
      const bool possible = !plan.kept[layer] && (within == nullptr || within->kept[layer]);
      if (!possible || bytes.queries[layer] > left) continue;
      if (!best || saved_by(plan, bytes, layer) > saved_by(plan, bytes, *best)) best = layer;
    }
    if (!best) return;
    plan.kept[*best] = true;
    left -= bytes.queries[*best];
  }
}

/// Returns whether there was one.
bool drop_inputs_of_no_use(QueryPlan& plan) {
  bool dropped = false;
  for (size_t start = 0; start < plan.kept.size(); ++start) {
    if (!plan.saved_input[start]) continue;
    bool used = false;
    for (size_t layer = start; layer < plan.kept.size() && (layer == start || !plan.saved_input[layer]); ++layer) {
      used = used || !plan.kept[layer];
    }
    plan.saved_input[start] = used;
    dropped = dropped || !used;
  }
  return dropped;
}

}  // namespace

bool QueryPlan::keeps_everything() const {
  return std::all_of(kept.begin(), kept.end(), [](bool layer) { return layer; });
}

int64_t QueryPlan::bytes_per_token(const QueryBytes& bytes) const {
  int64_t sum = 0;
  for (size_t layer = 0; layer < kept.size(); ++layer) {
    if (kept[layer]) sum += bytes.queries[layer];
    if (saved_input[layer]) sum += bytes.input;
  }
  return sum;
}

size_t QueryPlan::start_of(size_t layer) const {
  while (layer > 0 && !saved_input[layer]) --layer;
  return layer;
}

size_t QueryPlan::distance_of(size_t layer) const { return kept[layer] ? 0 : layer - start_of(layer); }

QueryPlan plan_queries(const QueryBytes& bytes, int64_t tokens, int64_t budget, const QueryPlan* within) {
  const int64_t bytes_per_token = std::max<int64_t>(0, budget) / std::max<int64_t>(1, tokens);
  const QueryPlan all = within != nullptr ? *within : QueryPlan::everything(bytes.queries.size());
  if (all.bytes_per_token(bytes) <= bytes_per_token) return all;
  for (size_t distance = 0; distance < bytes.queries.size(); ++distance) {
    std::optional<QueryPlan> plan = Cheapest(bytes, within, distance).plan();
    if (!plan || plan->bytes_per_token(bytes) > bytes_per_token) continue;
    do keep_more(*plan, bytes, bytes_per_token, within);
    while (drop_inputs_of_no_use(*plan));
    return *plan;
  }
  throw std::logic_error("plan_queries: no plan without bytes");
}

}  // namespace headscope
