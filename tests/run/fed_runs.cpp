#include "tests/run/fed_runs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/data/tiles.h"
#include "kernels/parallel.h"
#include "tests/run/random_model.h"

namespace headscope {

namespace {

RunOptions options_of(const Plan& plan, MlaForm form) {
  RunOptions options;
  options.logits = LogitsWanted::all();
  options.expected_tokens = plan.told ? plan.tokens() : 0;
  options.mla.form = form;
  return options;
}

}  // namespace

Fed::Fed(const std::shared_ptr<const Model>& model, const Plan& plan, MlaForm form)
    : run(model, options_of(plan, form)) {
  const auto ids = random_ids(*model->architecture(), plan.tokens());
  int64_t done = 0;
  for (const int64_t count : plan.passes) {
    run.extend(std::span(ids).subspan(static_cast<size_t>(done), static_cast<size_t>(count)));
    done += count;
  }
  snapshot = run.snapshot();
}

namespace {

double worst(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double found = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double difference = std::abs(double{a[i]} - double{b[i]});
    if (!(difference <= found)) found = std::isnan(difference) ? INFINITY : difference;
  }
  return found;
}

std::span<const float> all_of(const RowsView& rows) {
  return {rows.row(0), static_cast<size_t>(rows.rows * rows.width())};
}

void compare_logits(const Fed& whole, const Fed& parts) {
  ASSERT_EQ(parts.run.logits().rows, whole.run.logits().rows);
  const auto expected = all_of(whole.run.logits());
  const auto [low, high] = std::minmax_element(expected.begin(), expected.end());
  EXPECT_LE(worst(expected, all_of(parts.run.logits())), 2e-5 * (double{*high} - double{*low}));
}

/// Log-sum-exp in nats, and all statistics but argmax: weights (within `weight`) and nats, tokens, squared tokens.
void compare_rows(const LayerRows& expected, const LayerRows& found, int64_t heads, double weight) {
  for (int64_t i = 0; i < expected.row_max.rows; ++i) {
    for (int64_t head = 0; head < heads; ++head) {
      const double lse = double{expected.row_max.row(i)[head]} + double{expected.log_sum.row(i)[head]};
      const double error = double{found.row_max.row(i)[head]} + double{found.log_sum.row(i)[head]} - lse;
      EXPECT_LE(std::abs(error), 3e-5 * std::max(1.0, std::abs(lse)))
          << "log-sum-exp of row " << i << ", head " << head;
      for (const auto& [which, allowed] : {std::pair{Statistic::entropy, 2.5 * weight},
                                           {Statistic::max, weight},
                                           {Statistic::distance, 1e-3},
                                           {Statistic::distance_variance, 5e-2},
                                           {Statistic::sink, weight},
                                           {Statistic::window, weight}}) {
        EXPECT_NEAR(found.statistic(which, i, head, heads), expected.statistic(which, i, head, heads), allowed)
            << statistic_names[static_cast<size_t>(which)] << " of row " << i << ", head " << head;
      }
    }
  }
  EXPECT_EQ(found.thumbnails->bin, expected.thumbnails->bin);
  EXPECT_LE(worst(expected.thumbnails->max, found.thumbnails->max), weight);
}

void compare_tiles(const RunSnapshot& expected, const RunSnapshot& found, int64_t layer, int64_t head, double weight) {
  const SerialFor workers;
  const int64_t tokens = expected.tokens();
  for (const TileQuery& query :
       {TileQuery{layer, head, 0, tokens, 0, tokens}, TileQuery{layer, head, 3, 61, 2, 64, 5, Pooling::mean}}) {
    const Tile whole = compute_tile(expected, query, workers), parts = compute_tile(found, query, workers);
    EXPECT_LE(worst(whole.cells, parts.cells), weight) << "head " << head << ", " << query.bin << " tokens a cell";
  }
}

/// The largest key of each row is one that is largest in the map of one pass: with a token twice and no positions there
/// are two.
void compare_argmax(const RunSnapshot& expected, const RunSnapshot& found, int64_t layer, int64_t head, double weight) {
  const int64_t tokens = expected.tokens();
  const Tile map = compute_tile(expected, {layer, head, 0, tokens, 0, tokens}, SerialFor());
  const LayerRows& rows = found.layers[static_cast<size_t>(layer)];
  for (int64_t i = 0; i < tokens; ++i) {
    const auto row = std::span(map.cells).subspan(static_cast<size_t>(i * tokens), static_cast<size_t>(i + 1));
    const float largest = *std::max_element(row.begin(), row.end());
    const auto key = static_cast<int64_t>(rows.statistic(Statistic::argmax, i, head, 4));
    ASSERT_TRUE(key >= 0 && key <= i) << "row " << i << ", head " << head;
    EXPECT_GE(double{row[static_cast<size_t>(key)]}, double{largest} - weight) << "row " << i << ", head " << head;
  }
}

}  // namespace

void extend_one_by_one(headscope::Run& run, std::span<const int32_t> ids) {
  for (size_t i = 0; i < ids.size(); ++i) run.extend(ids.subspan(i, 1));
}

void expect_same_tokens(Decoder& expected, Decoder& found, const Architecture& architecture, int steps) {
  const auto ids = random_ids(architecture, 7);
  for (Decoder* decoder : {&expected, &found}) decoder->prefill(ids);
  std::vector<int32_t> next(static_cast<size_t>(expected.sequences()));
  std::iota(next.begin(), next.end(), 1);
  for (int step = 0; step < steps; ++step) {
    const std::vector<int32_t> chosen = expected.step(next);
    ASSERT_EQ(found.step(next), chosen) << step;
    next = chosen;
  }
  EXPECT_EQ(found.kv_allocated_bytes(), expected.kv_allocated_bytes());
}

void expect_same_bits(const RowsView& a, const RowsView& b, const char* what) {
  ASSERT_EQ(a.rows, b.rows) << what;
  const RowsView here = a.on_host(0, a.rows), there = b.on_host(0, b.rows);
  const auto bytes = static_cast<size_t>(a.rows * a.buffer->row_bytes());
  EXPECT_EQ(std::memcmp(here.buffer->row(0), there.buffer->row(0), bytes), 0) << what;
}

void expect_same_bits(const Fed& a, const Fed& b) {
  expect_same_bits(a.run.logits(), b.run.logits(), "logits");
  ASSERT_EQ(a.snapshot.layers.size(), b.snapshot.layers.size());
  for (size_t layer = 0; layer < a.snapshot.layers.size(); ++layer) {
    SCOPED_TRACE(layer);
    const LayerRows &here = a.snapshot.layers[layer], &there = b.snapshot.layers[layer];
    expect_same_bits(here.q, there.q, "queries");
    expect_same_bits(here.row_max, there.row_max, "row maxima");
    expect_same_bits(here.log_sum, there.log_sum, "log sums");
    expect_same_bits(here.statistics, there.statistics, "statistics");
    EXPECT_EQ(here.thumbnails->bin, there.thumbnails->bin);
    EXPECT_EQ(here.thumbnails->max, there.thumbnails->max);
  }
  for (size_t store = 0; store < a.snapshot.stores.size(); ++store) {
    SCOPED_TRACE(store);
    expect_same_bits(a.snapshot.stores[store].k, b.snapshot.stores[store].k, "keys");
    expect_same_bits(a.snapshot.stores[store].v, b.snapshot.stores[store].v, "values");
  }
  EXPECT_EQ(a.snapshot.kv_allocated_bytes(), b.snapshot.kv_allocated_bytes());
  EXPECT_EQ(a.snapshot.kernel, b.snapshot.kernel);
}

void check_bytes(const RunSnapshot& run, const SharingScheme& scheme) {
  const Architecture& a = *run.architecture;
  const int64_t tokens = run.tokens();
  int64_t formula = 0;
  for (const KvRows& rows : run.stores) {
    const KvStore& store = a.store_of(rows.layer);
    const int64_t kept = store.window > 0 ? std::min(tokens, store.window) : tokens;
    const int64_t numbers = scheme.stored == Stored::latent            ? 16
                            : scheme.stored == Stored::keys_and_values ? scheme.kv_heads * 12
                                                                       : scheme.kv_heads * 6;
    EXPECT_EQ(rows.used_bytes, kept * numbers * 4) << "layer " << rows.layer;
    EXPECT_GE(rows.allocated_bytes, rows.used_bytes) << "layer " << rows.layer;
    formula += kept * numbers * 4;
  }
  EXPECT_EQ(run.kv_used_bytes(), formula);
  EXPECT_EQ(kv_bytes(a, 1, tokens, 4), formula);
}

void compare(const Fed& whole, const Fed& parts, const SharingScheme& scheme, double weight) {
  compare_logits(whole, parts);
  const auto layers = static_cast<int64_t>(scheme.owners.size());
  for (int64_t layer = 0; layer < layers; ++layer) {
    SCOPED_TRACE(layer);
    const auto index = static_cast<size_t>(layer);
    compare_rows(whole.snapshot.layers[index], parts.snapshot.layers[index], 4, weight);
    for (int64_t head = 0; head < 4; ++head) {
      compare_tiles(whole.snapshot, parts.snapshot, layer, head, weight);
      compare_argmax(whole.snapshot, parts.snapshot, layer, head, weight);
    }
  }
  check_bytes(parts.snapshot, scheme);
}

}  // namespace headscope
