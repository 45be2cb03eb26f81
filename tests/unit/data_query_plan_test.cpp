// Which queries and layer inputs a run keeps: the rule of the header against all plans there are, and numbers by hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/data/query_plan.h"

namespace headscope {
namespace {

std::vector<bool> bits(uint32_t number, size_t count) {
  std::vector<bool> out;
  for (size_t i = 0; i < count; ++i) out.push_back((number >> i & 1) != 0);
  return out;
}

size_t largest_distance(const QueryPlan& plan) {
  size_t largest = 0;
  for (size_t layer = 0; layer < plan.kept.size(); ++layer) largest = std::max(largest, plan.distance_of(layer));
  return largest;
}

bool lies_within(const QueryPlan& plan, const QueryPlan* within) {
  for (size_t layer = 0; within != nullptr && layer < plan.kept.size(); ++layer) {
    if (plan.kept[layer] && !within->kept[layer]) return false;
    if (plan.saved_input[layer] && !within->saved_input[layer]) return false;
  }
  return true;
}

/// The smallest largest distance of every plan that fits.
size_t best_distance(const QueryBytes& bytes, int64_t each, const QueryPlan* within = nullptr) {
  const size_t layers = bytes.queries.size();
  size_t best = layers;
  for (uint32_t kept = 0; kept < 1U << layers; ++kept) {
    for (uint32_t saved = 0; saved < 1U << layers; saved += 2) {
      const QueryPlan plan{bits(kept, layers), bits(saved, layers)};
      if (plan.bytes_per_token(bytes) > each || !lies_within(plan, within)) continue;
      best = std::min(best, largest_distance(plan));
    }
  }
  return best;
}

/// Nothing more fits, and nothing is of no use.
void expect_full(const QueryPlan& plan, const QueryBytes& bytes, int64_t each) {
  for (size_t layer = 0; layer < plan.kept.size(); ++layer) {
    EXPECT_TRUE(plan.kept[layer] || plan.bytes_per_token(bytes) + bytes.queries[layer] > each) << "layer " << layer;
    if (!plan.saved_input[layer]) continue;
    bool serves = false;
    for (size_t other = layer; other < plan.kept.size(); ++other) {
      serves = serves || (!plan.kept[other] && plan.start_of(other) == layer);
    }
    EXPECT_TRUE(serves) << "the input of layer " << layer << " serves nobody";
  }
}

const std::vector<QueryBytes> shapes = {
    {{8, 8, 8, 8, 8}, 4},       // f32 GQA with few heads
    {{4, 4, 4, 4, 4, 4}, 8},    // bf16
    {{56, 56, 56, 56, 56}, 4},  // absorbed MLA
    {{2, 9, 3, 14, 5}, 6},      // layers of different heads
    {{7}, 3},
};

TEST(QueryPlan, HasTheSmallestLargestDistanceOfAllPlans) {
  constexpr int64_t tokens = 10;
  for (const QueryBytes& bytes : shapes) {
    const int64_t all = QueryPlan::everything(bytes.queries.size()).bytes_per_token(bytes);
    for (int64_t each = 0; each <= all + 1; ++each) {
      SCOPED_TRACE(each);
      const QueryPlan plan = plan_queries(bytes, tokens, each * tokens + 3);
      EXPECT_LE(plan.bytes_per_token(bytes), each);
      EXPECT_EQ(largest_distance(plan), best_distance(bytes, each));
      EXPECT_EQ(plan.keeps_everything(), each >= all);
      EXPECT_FALSE(plan.saved_input[0]);
      expect_full(plan, bytes, each);
    }
  }
}

TEST(QueryPlan, OfAGrownRunKeepsNothingNew) {
  for (const QueryBytes& bytes : shapes) {
    const int64_t all = QueryPlan::everything(bytes.queries.size()).bytes_per_token(bytes);
    for (int64_t before = 0; before <= all; before += 3) {
      const QueryPlan old = plan_queries(bytes, 1, before);
      for (int64_t each = 0; each <= before; ++each) {
        const QueryPlan plan = plan_queries(bytes, 1, each, &old);
        EXPECT_LE(plan.bytes_per_token(bytes), each);
        EXPECT_TRUE(lies_within(plan, &old));
        EXPECT_EQ(largest_distance(plan), best_distance(bytes, each, &old)) << before << ", " << each;
      }
      EXPECT_EQ(plan_queries(bytes, 1, before, &old), old);
    }
  }
}

TEST(QueryPlan, ByHand) {
  const QueryBytes bytes{{8, 8, 8, 8}, 4};
  const auto at = [&](int64_t each) { return plan_queries(bytes, 100, 100 * each); };
  using Bits = std::vector<bool>;
  EXPECT_EQ(at(0), (QueryPlan{Bits{false, false, false, false}, Bits{false, false, false, false}}));
  // An input in the middle halves the way.
  EXPECT_EQ(at(4), (QueryPlan{Bits{false, false, false, false}, Bits{false, false, true, false}}));
  // All inputs: no layer is gone through.
  EXPECT_EQ(at(12), (QueryPlan{Bits{false, false, false, false}, Bits{false, true, true, true}}));
  // What is left goes to queries.
  EXPECT_EQ(at(20), (QueryPlan{Bits{true, false, false, false}, Bits{false, true, true, true}}));
  EXPECT_EQ(at(32), QueryPlan::everything(4));
  // bf16: an input takes as much as two layers' queries. The last layer's are furthest away.
  const QueryBytes half{{4, 4, 4, 4}, 8};
  EXPECT_EQ(plan_queries(half, 1, 4), (QueryPlan{Bits{false, false, false, true}, Bits{false, false, false, false}}));
}

TEST(QueryPlan, TakesNegativeBudgetsAndNoTokens) {
  const QueryBytes bytes{{8, 8}, 4};
  EXPECT_EQ(plan_queries(bytes, 5, -1).bytes_per_token(bytes), 0);
  EXPECT_TRUE(plan_queries(bytes, 0, 16).keeps_everything());
}

TEST(QueryPlan, TellsWhereALayerStarts) {
  const QueryPlan plan{{false, false, true, false, false}, {false, false, false, true, false}};
  const auto starts = [&] {
    std::vector<size_t> list;
    for (size_t layer = 0; layer < 5; ++layer) list.push_back(plan.start_of(layer));
    return list;
  };
  EXPECT_EQ(starts(), (std::vector<size_t>{0, 0, 0, 3, 3}));
  EXPECT_EQ(plan.distance_of(1), 1U);
  EXPECT_EQ(plan.distance_of(2), 0U);
  EXPECT_EQ(plan.distance_of(4), 1U);
}

}  // namespace
}  // namespace headscope
