// How many bytes a run keeps for queries and layer inputs, and that what it keeps no longer depends on them.
#include <gtest/gtest.h>

#include "core/data/tiles.h"
#include "tests/run/budget_runs.h"
#include "tests/run/schemes.h"
#include "tests/support/elsewhere.h"

namespace headscope {
namespace {

/// Eight layers.
Architecture deep_architecture() {
  Architecture a = small_architecture();
  while (a.layer_count() < 8) {
    a.layers.push_back(a.layers.front());
    a.layers.back().kv_owner = a.layer_count() - 1;
    a.kv_stores.push_back(a.kv_stores.front());
    a.kv_stores.back().layer = a.layer_count() - 1;
  }
  return a;
}

RunOptions within(int64_t bytes) {
  RunOptions options;
  options.query_bytes = bytes;
  return options;
}

TEST(QueryBudget, BoundsThePeakOfWhatIsKeptAndMade) {
  use_threads(1);
  const auto model = random_model(deep_architecture());
  constexpr int64_t tokens = 60;
  const int64_t all = all_query_bytes(*model, tokens);
  const RunSnapshot kept = fed_run(model, {50, 1, 9}, {}).snapshot();
  EXPECT_EQ(kept.viewer_peak_bytes, all);
  EXPECT_EQ(kept.query_source, nullptr);
  for (int64_t part = 1; part <= 10; ++part) {
    SCOPED_TRACE(part);
    const int64_t bytes = all * part / 10;
    const headscope::Run run = fed_run(model, {50, 1, 9}, within(bytes));
    const RunSnapshot limited = run.snapshot();
    EXPECT_EQ(kept_layers(limited) == 8, part == 10);
    // Views of one layer after the other, twice: more layers than there is room for. A tenth holds no layer's queries.
    for (int64_t layer = 0; layer < 16; ++layer) queries_of(limited, layer % 8);
    const RunSnapshot after = run.snapshot();
    EXPECT_LE(after.viewer_peak_bytes, std::max(bytes, all / 8)) << "of " << all;
    EXPECT_GT(after.viewer_peak_bytes, bytes / 2) << "much of the budget is not used";
  }
}

/// A run that nobody told of its length: buffers grow, and there are fewer of them.
TEST(QueryBudget, BoundsThePeakOfARunThatGrows) {
  use_threads(1);
  const auto model = random_model(deep_architecture());
  const int64_t all = all_query_bytes(*model, 80);
  for (const int64_t bytes : {int64_t{0}, all / 5, all / 3, all / 2}) {
    SCOPED_TRACE(bytes);
    RunOptions options = within(bytes);
    options.expected_tokens = 10;
    std::vector<int64_t> passes(70, 1);
    passes.front() = 11;
    const RunSnapshot limited = fed_run(model, passes, options).snapshot();
    // A buffer of keys or values that has been replaced is the viewers' for the moment until it is gone.
    EXPECT_LE(limited.viewer_peak_bytes, bytes + 80 * 12 * 4);
    EXPECT_LT(kept_layers(limited), 8);
    expect_same_queries(fed_run(model, passes, {}).snapshot(), limited);
  }
}

/// Tokens come one by one; buffers begin with room for 20 and hold 30 next.
void grow_within(int64_t bytes) {
  const auto architecture = std::make_shared<const Architecture>(deep_architecture());
  const auto ledger = std::make_shared<MemoryLedger>();
  QueryBudget budget(architecture, Element::f32, ledger, bytes, 20);
  std::vector<LayerRecord> records(8);
  const std::vector<float> zeros(64, 0.0F);
  budget.make_room(records, 20);
  EXPECT_TRUE(budget.plan().keeps_everything());
  QueryPlan before = budget.plan();
  for (int64_t tokens = 20; tokens <= 80; ++tokens) {
    budget.make_room(records, tokens);
    for (LayerRecord& record : records) {
      for (std::optional<GrowingRows>* rows : {&record.q, &record.input}) {
        while (*rows && (*rows)->rows() < tokens) (*rows)->append(zeros.data(), 1);
      }
    }
    for (size_t layer = 0; layer < 8; ++layer) {
      EXPECT_EQ(records[layer].q.has_value(), budget.plan().kept[layer]);
      EXPECT_FALSE(budget.plan().kept[layer] && !before.kept[layer]);
      EXPECT_FALSE(budget.plan().saved_input[layer] && !before.saved_input[layer]);
    }
    before = budget.plan();
    EXPECT_LE(ledger->bytes(MemoryPurpose::viewer) + budget.left_bytes(), bytes);
  }
  EXPECT_LE(ledger->peak_bytes(MemoryPurpose::viewer), bytes);
  EXPECT_FALSE(before.keeps_everything());
}

TEST(QueryBudget, GivesBuffersUpAndNeverTakesThemBack) {
  constexpr int64_t row = 24 * 4;
  grow_within(20 * 8 * row);
  // Room for all larger buffers, but not for the first one beside the one that it is copied from.
  grow_within(30 * 8 * row + 10 * row);
}

TEST(QueryBudget, WithoutOneAllIsKeptOnTheHost) {
  const Architecture a = small_architecture();
  EXPECT_EQ(usual_query_bytes(*host(), a, Element::f32, 100), std::nullopt);
}

/// Half of what is free beside the cache.
TEST(QueryBudget, OfADeviceThatTellsWhatIsFree) {
  testing::Elsewhere device(attention_kernels());
  const Architecture a = small_architecture();
  EXPECT_EQ(usual_query_bytes(device, a, Element::f32, 100), std::nullopt);
  const int64_t cache = 100 * 3 * 2 * 12 * 4;  // tokens, layers, KV heads, K and V, bytes
  device.free_memory = cache + 5000;
  EXPECT_EQ(usual_query_bytes(device, a, Element::f32, 100), 2500);
  device.free_memory = cache - 1;
  EXPECT_EQ(usual_query_bytes(device, a, Element::f32, 100), 0);

  const auto small = std::make_shared<testing::Elsewhere>(attention_kernels());
  small->free_memory = 20000;
  const auto model = random_model(a, 1, small);
  const RunSnapshot limited = fed_run(model, {40, 1, 1}, {}).snapshot();
  EXPECT_LT(kept_layers(limited), 3);
  small->free_memory = std::nullopt;
  expect_same_queries(fed_run(model, {40, 1, 1}, {}).snapshot(), limited);
}

/// Absorbed queries are f32 whatever the cache is, and many times a layer's input.
TEST(QueryBudget, CountsWhatRowsTake) {
  const QueryBytes latent = query_bytes(small_latent_architecture(), Element::bf16);
  EXPECT_EQ(latent.queries, (std::vector<int64_t>(3, 4 * 15 * 4)));
  EXPECT_EQ(latent.input, 24 * 4);
  EXPECT_EQ(query_bytes(small_architecture(), Element::bf16).queries, (std::vector<int64_t>(3, 4 * 6 * 2)));
}

/// Nothing of the budget reaches what a run computes.
TEST(QueryBudget, ChangesNoLogitsStatisticsOrMaps) {
  use_threads(1);
  const auto model = random_model(deep_architecture());
  const std::vector<int64_t> passes = {40, 1, 1, 1};
  const headscope::Run kept = fed_run(model, passes, {});
  for (const int64_t bytes : {int64_t{0}, all_query_bytes(*model, 43) / 3}) {
    const headscope::Run limited = fed_run(model, passes, within(bytes));
    EXPECT_TRUE(std::ranges::equal(kept.last_logits(), limited.last_logits()));
    const RunSnapshot a = kept.snapshot(), b = limited.snapshot(), c = b.on_host();
    EXPECT_EQ(c.query_source, nullptr);
    for (int64_t layer = 0; layer < 8; ++layer) {
      const auto index = static_cast<size_t>(layer);
      expect_same_bits(a.layers[index].statistics, b.layers[index].statistics, "statistics");
      EXPECT_EQ(a.layers[index].thumbnails->max, b.layers[index].thumbnails->max);
      const TileQuery query{layer, layer % 4, 3, 43, 0, 43, 2};
      EXPECT_EQ(compute_tile(a, query, SerialFor()).cells, compute_tile(b, query, SerialFor()).cells);
      EXPECT_EQ(compute_tile(a, query, SerialFor()).cells, compute_tile(c, query, SerialFor()).cells);
    }
  }
}

}  // namespace
}  // namespace headscope
