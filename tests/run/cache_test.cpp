// Caches of sliding windows and batches, each against a run that knows nothing of them.
#include <gtest/gtest.h>

#include <cmath>

#include "core/data/tiles.h"
#include "core/model/random_weights.h"
#include "core/run/decoder.h"
#include "core/run/kv_measurement.h"
#include "core/run/run.h"
#include "kernels/thread_pool.h"
#include "tests/run/random_model.h"

namespace headscope {
namespace {

using OneRun = headscope::Run;  // in a test, Run is a member of its class

constexpr int64_t window = 7;

/// Layers 0 and 1 have a window, layer 1 reads what layer 0 keeps; `cached`: the cache has it, too.
Architecture windowed(bool cached) {
  Architecture a = small_architecture();
  a.context = 2000;
  a.layers[1].kv_owner = 0;
  a.kv_stores.erase(a.kv_stores.begin() + 1);
  a.layers[0].window = window;
  a.layers[1].window = window - 2;
  if (cached) a.kv_stores[0].window = window;
  return a;
}

std::vector<float> all_logits(const OneRun& run) {
  const RowsView rows = run.logits();
  return {rows.row(0), rows.row(0) + rows.rows * rows.width()};
}

RunOptions chunks_of(int64_t tokens) {
  RunOptions options;
  options.chunk = tokens;
  return options;
}

/// A run that is fed `steps` tokens at a time, in turn.
OneRun fed(const std::shared_ptr<const Model>& model, std::span<const int32_t> ids, std::vector<int64_t> steps,
           RunOptions options = {}) {
  options.logits = LogitsWanted::all();
  OneRun run(model, options);
  size_t turn = 0;
  for (size_t begin = 0; begin < ids.size();) {
    const auto count = std::min(static_cast<size_t>(steps[turn++ % steps.size()]), ids.size() - begin);
    run.extend(ids.subspan(begin, count));
    begin += count;
  }
  return run;
}

TEST(WindowCache, GivesTheSameBitsAsOneThatKeepsAllTokens) {
  const auto ids = random_ids(windowed(true), 900);
  const auto ring = random_model(windowed(true)), whole = random_model(windowed(false));
  for (const std::vector<int64_t>& steps : {std::vector<int64_t>{900}, {300}, {1, 5, 60}}) {
    const OneRun a = fed(ring, ids, steps), b = fed(whole, ids, steps, chunks_of(256));
    EXPECT_EQ(all_logits(a), all_logits(b));
    const RunSnapshot left = a.snapshot(), right = b.snapshot();
    for (int64_t layer = 0; layer < 3; ++layer) {
      const TileQuery query{layer, 3, 100, 900, 0, 900, 1};
      EXPECT_EQ(compute_tile(left, query, ThreadPool(2)).cells, compute_tile(right, query, ThreadPool(2)).cells);
    }
  }
}

TEST(WindowCache, HoldsTheWindowAndWhatComesAtOnce) {
  const Architecture a = windowed(true);
  const auto ids = random_ids(a, 900);
  const int64_t row = a.kv_stores[0].elements_per_token() * 4;
  const RunSnapshot one_by_one = fed(random_model(a), std::span(ids).first(90), {1}).snapshot();
  EXPECT_EQ(one_by_one.stores[0].used_bytes, window * row);
  EXPECT_LE(one_by_one.stores[0].allocated_bytes, 16 * row) << "the first room is enough for two windows";
  RunOptions told;
  told.expected_tokens = 90;
  const RunSnapshot short_prompt = fed(random_model(a), std::span(ids).first(90), {1}, told).snapshot();
  EXPECT_EQ(short_prompt.stores[0].allocated_bytes, 2 * window * row) << "a told length is no reason for its room";
  const RunSnapshot at_once = fed(random_model(a), ids, {900}).snapshot();
  EXPECT_EQ(at_once.stores[0].used_bytes, window * row);
  EXPECT_EQ(at_once.stores[0].allocated_bytes, (window + 256) * row) << "windows below 256 take 256 at once";
  EXPECT_EQ(at_once.kv_used_bytes(), kv_bytes(a, 1, 900, 4));
  EXPECT_EQ(at_once.stores[0].k.rows, 900) << "viewers keep all keys";
  const RunSnapshot small_chunks = fed(random_model(a), ids, {900}, chunks_of(32)).snapshot();
  EXPECT_EQ(small_chunks.stores[0].allocated_bytes, (window + 32) * row);
}

TEST(WindowCache, ACancelledChunkLeavesWhatTheNextOneNeeds) {
  const Architecture a = windowed(true);
  const auto model = random_model(a);
  const auto ids = random_ids(a, 700);
  OneRun run(model, {});
  run.extend(std::span(ids).first(300));
  for (const double where : {0.1, 0.3, 0.2}) {
    std::stop_source stop;
    const Progress progress{stop.get_token(), [&](std::string_view, double fraction) {
                              if (fraction > where) stop.request_stop();
                            }};
    EXPECT_THROW(run.extend(std::span(ids).subspan(static_cast<size_t>(run.tokens())), progress), Cancelled);
    EXPECT_EQ(run.snapshot().kv_used_bytes(), kv_bytes(a, 1, run.tokens(), 4));
  }
  run.extend(std::span(ids).subspan(static_cast<size_t>(run.tokens())));
  OneRun fresh(model, {});
  fresh.extend(ids);
  for (size_t i = 0; i < run.last_logits().size(); ++i) {
    ASSERT_NEAR(run.last_logits()[i], fresh.last_logits()[i], 1e-4);
  }
}

/// Every kind of cache that a batch may have.
std::vector<Architecture> kinds() {
  Architecture shared = small_architecture();
  for (Layer& layer : shared.layers) layer.rotate_on_read = true;
  for (KvStore& store : shared.kv_stores) {
    store.stored = Stored::values_only;
    store.keys_rotated = false;
  }
  Architecture learned = small_gpt2_architecture();
  learned.layers[2].kv_owner = 1;
  learned.kv_stores.pop_back();
  return {small_architecture(), windowed(true), shared, learned, small_latent_architecture()};
}

TEST(Decoder, SequencesOfABatchAreAsAlone) {
  for (const Architecture& a : kinds()) {
    const auto model = random_model(a);
    const auto prompt = random_ids(a, 30, 1);
    constexpr int64_t sequences = 3, steps = 20;
    Decoder decoder(model, sequences, 16);
    decoder.prefill(prompt);
    std::vector<OneRun> alone;
    std::vector<int32_t> next{1, 2, 3};
    for (int64_t i = 0; i < sequences; ++i) alone.emplace_back(model, RunOptions{}).extend(prompt);
    for (int64_t step = 0; step < steps; ++step) {
      const auto likeliest = decoder.step(next);
      for (size_t i = 0; i < alone.size(); ++i) {
        alone[i].extend({&next[i], 1});
        const auto logits = alone[i].last_logits();
        const float best = *std::max_element(logits.begin(), logits.end());
        ASSERT_NEAR(logits[static_cast<size_t>(likeliest[i])], best, 1e-4) << "sequence " << i << ", step " << step;
      }
      next = likeliest;
    }
    EXPECT_EQ(decoder.tokens(), 50);
    EXPECT_EQ(decoder.kv_used_bytes(), kv_bytes(a, sequences, 50, 4));
    EXPECT_GE(decoder.kv_allocated_bytes(), decoder.kv_used_bytes());
    EXPECT_EQ(decoder.kv_used_bytes(), sequences * alone[0].snapshot().kv_used_bytes());
  }
}

TEST(Decoder, EveryLayerReadsTheCacheThatItsOwnerHolds) {
  const Architecture plain = small_gpt2_architecture();
  Decoder decoder(random_model(plain), 2, 16);
  decoder.prefill(random_ids(plain, 40));
  EXPECT_EQ(decoder.kv_read_bytes(), decoder.kv_used_bytes());
  Architecture shared = plain;
  shared.layers[2].kv_owner = 1;
  shared.kv_stores.pop_back();
  Decoder sharing(random_model(shared), 2, 16);
  sharing.prefill(random_ids(shared, 40));
  EXPECT_EQ(sharing.kv_read_bytes(), decoder.kv_read_bytes()) << "sharing across layers saves no reading";
  EXPECT_EQ(sharing.kv_used_bytes() * 3, decoder.kv_used_bytes() * 2);
}

TEST(KvMeasurement, ReadsTheStorage) {
  for (const Architecture& a : kinds()) {
    const auto model = random_weights("random", a, DType::f32);
    const KvMeasurement found = measure_kv(model, {3, 60, 5});
    EXPECT_EQ(found.used_bytes, kv_bytes(a, 3, 60, 4));
    EXPECT_EQ(found.formula_bytes, found.used_bytes);
    EXPECT_GE(found.allocated_bytes, found.used_bytes);
    EXPECT_GE(found.peak_bytes, found.allocated_bytes);
    EXPECT_EQ(found.prompt_tokens, 55);
    EXPECT_GT(found.step_seconds, 0);
    EXPECT_GT(found.prefill_seconds, 0);
  }
  const auto model = random_weights("random", small_architecture(), DType::f32);
  EXPECT_THROW(measure_kv(model, {1, 5, 5}), Error);
  EXPECT_THROW(measure_kv(model, {1, 81, 5}), Error) << "beyond the context";
}

TEST(RandomWeights, AreOfTheSeedAndRunInBothTypes) {
  const Architecture a = small_latent_architecture();
  const auto logits = [&](DType dtype, uint64_t seed) {
    OneRun run(random_weights("random", a, dtype, seed), {});
    run.extend(random_ids(a, 12));
    return std::vector<float>(run.last_logits().begin(), run.last_logits().end());
  };
  const auto first = logits(DType::f32, 1), rounded = logits(DType::bf16, 1);
  EXPECT_EQ(first, logits(DType::f32, 1));
  EXPECT_NE(first, logits(DType::f32, 2));
  EXPECT_NE(first, rounded);
  for (size_t i = 0; i < first.size(); ++i) ASSERT_NEAR(first[i], rounded[i], 0.3) << "the same weights, rounded";
}

TEST(Decoder, RefusesWhatItCannotDo) {
  const Architecture a = small_architecture();
  const auto model = random_model(a);
  EXPECT_THROW(Decoder(model, 0, 16), Error);
  Decoder decoder(model, 1, 16);
  EXPECT_THROW(decoder.prefill(std::vector<int32_t>(81, 1)), Error);
  EXPECT_THROW(decoder.prefill(std::vector<int32_t>{61}), Error);
  decoder.prefill(std::vector<int32_t>(80, 1));
  EXPECT_THROW(decoder.step(std::vector<int32_t>{1}), Error);
}

}  // namespace
}  // namespace headscope
