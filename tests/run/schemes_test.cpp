// Cached equals uncached: every scheme of sharing, with and without windows, fed in several ways, against one pass.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <set>

#include "core/data/tiles.h"
#include "core/run/run.h"
#include "kernels/parallel.h"
#include "tests/run/random_model.h"
#include "tests/run/schemes.h"

namespace headscope {
namespace {

/// Nearly six windows, or three wide ones; a cache that starts with 16 rows and grows by half has grown 4 times.
int64_t tokens_with(Windows windows) { return windows == Windows::wide ? 3 * wide_window : 64; }

enum class Feeding { one_by_one, two_chunks, across_the_window_edge, growing };

/// Tokens of each call, and whether their number is told before.
struct Plan {
  std::vector<int64_t> passes;
  bool told = true;

  int64_t tokens() const { return std::accumulate(passes.begin(), passes.end(), int64_t{0}); }
};

Plan plan_of(Feeding feeding, int64_t tokens) {
  constexpr int64_t edge = narrow_window;
  switch (feeding) {
    case Feeding::one_by_one:
      return {std::vector<int64_t>(static_cast<size_t>(tokens), 1)};
    case Feeding::two_chunks:
      return {{29, tokens - 29}};
    case Feeding::across_the_window_edge:  // of 11, and of 7: before it, at it, behind it; then chunks wider than it
      return {{edge - 5, 1, 3, 1, 1, 1, edge + 4, 3, tokens - 2 * edge - 9}};
    case Feeding::growing:
      break;
  }
  Plan growing{{5}, false};
  for (int64_t fed = 5; fed < tokens; ++fed) growing.passes.push_back(1);
  return growing;
}

/// A run and the numbers that must not depend on how it was fed.
struct Fed {
  Fed(const std::shared_ptr<const Model>& model, const Plan& plan, MlaForm form = MlaForm::fewest_operations)
      : run(model, options_of(plan, form)) {
    const auto ids = random_ids(*model->architecture(), plan.tokens());
    int64_t done = 0;
    for (const int64_t count : plan.passes) {
      run.extend(std::span(ids).subspan(static_cast<size_t>(done), static_cast<size_t>(count)));
      done += count;
    }
    snapshot = run.snapshot();
  }

  static RunOptions options_of(const Plan& plan, MlaForm form) {
    RunOptions options;
    options.logits = LogitsWanted::all();
    options.expected_tokens = plan.told ? plan.tokens() : 0;
    options.mla.form = form;
    return options;
  }

  headscope::Run run;
  RunSnapshot snapshot;
};

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

/// Used is what the scheme has to keep of these tokens, not more: heads once, one of K and V where one does.
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

constexpr std::array<std::string_view, 4> windows_names = {"no windows", "sliding windows", "alternating windows",
                                                           "wide windows"};
constexpr std::array<std::string_view, 4> feeding_names = {"one by one", "two chunks", "across the window's edge",
                                                           "behind 5 tokens, growing"};

/// `weight`: how far a weight may be from that of one pass. Linear layers sum few tokens in another order than many.
/// Sums in another order differ more where there are more terms or latents are expanded; a wrong row is off by hundreds
/// of times that.
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

void check_growth(const RunSnapshot& run) {
  const std::set<int64_t> sizes(run.allocated_history.begin(), run.allocated_history.end());
  EXPECT_GE(sizes.size(), 4u) << "the cache has not grown 3 times";
}

std::vector<Feeding> feedings_with(Windows windows) {
  if (windows == Windows::wide) return {Feeding::growing};
  return {Feeding::one_by_one, Feeding::two_chunks, Feeding::across_the_window_edge, Feeding::growing};
}

class SharingSchemes : public ::testing::TestWithParam<SharingScheme> {};

// A test for each scheme: each is a process under ctest, which takes longer to start than all of its runs.
TEST_P(SharingSchemes, CachedEqualsUncached) {
  const SharingScheme& scheme = GetParam();
  use_threads(1);  // these models are too small for more
  for (const Windows windows : {Windows::none, Windows::sliding, Windows::alternating, Windows::wide}) {
    SCOPED_TRACE(windows_names[static_cast<size_t>(windows)]);
    const auto model = random_model(architecture_of(scheme, windows));
    const int64_t tokens = tokens_with(windows);
    const Fed whole(model, {{tokens}});
    check_bytes(whole.snapshot, scheme);
    for (const Feeding feeding : feedings_with(windows)) {
      SCOPED_TRACE(feeding_names[static_cast<size_t>(feeding)]);
      const Plan plan = plan_of(feeding, tokens);
      const Fed parts(model, plan);
      compare(whole, parts, scheme, windows == Windows::wide ? 1e-4 : 4e-5);
      // Two narrow windows fit into the first room.
      if (feeding == Feeding::growing && windows != Windows::sliding) check_growth(parts.snapshot);
      if (scheme.stored != Stored::latent) continue;
      for (const MlaForm form : {MlaForm::naive, MlaForm::absorbed}) {
        SCOPED_TRACE(form == MlaForm::naive ? "naive MLA" : "absorbed MLA");
        compare(whole, Fed(model, plan, form), scheme, 1e-4);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Run, SharingSchemes, ::testing::ValuesIn(sharing_schemes()),
                         [](const auto& scheme) { return scheme.param.name; });

}  // namespace
}  // namespace headscope
