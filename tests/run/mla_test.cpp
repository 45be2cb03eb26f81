// Multi-head latent attention: which form a call takes, that all forms say the same, and what expanding takes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include "core/data/tiles.h"
#include "core/model/random_weights.h"
#include "core/run/mla_attention.h"
#include "core/run/run.h"
#include "kernels/parallel.h"
#include "tests/run/random_model.h"

namespace headscope {
namespace {

using OneRun = headscope::Run;  // in a test, Run is a member of its class

constexpr int64_t everything = int64_t{1} << 40;

/// DeepSeek's sizes.
Layer deepseek_layer() {
  Layer layer;
  layer.q_heads = 16;
  layer.mla = Mla{.query_rank = 0, .content_dim = 128, .value_dim = 128};
  return layer;
}
KvStore deepseek_store() { return {.kv_heads = 1, .key_dim = 576, .value_dim = 512, .stored = Stored::latent}; }

LatentWork work_of(int64_t position, int64_t count, int64_t window = 0) {
  LatentWork work;
  work.add(position, count, window);
  return work;
}

TEST(LatentWork, CountsWhatRowsSee) {
  for (const int64_t window : {0, 1, 3, 7, 100}) {
    for (const int64_t position : {0, 1, 5, 6, 7, 20}) {
      for (const int64_t count : {1, 2, 7, 8, 30}) {
        int64_t pairs = 0, keys = 0;
        for (int64_t key = 0; key < position + count; ++key) {
          int64_t seeing = 0;
          for (int64_t row = position; row < position + count; ++row) {
            seeing += key <= row && (window == 0 || key > row - window) ? 1 : 0;
          }
          pairs += seeing;
          keys += seeing > 0 ? 1 : 0;
        }
        const LatentWork work = work_of(position, count, window);
        EXPECT_EQ(work.rows, count);
        EXPECT_EQ(work.pairs, pairs) << position << ", " << count << ", " << window;
        EXPECT_EQ(work.keys, keys) << position << ", " << count << ", " << window;
      }
    }
  }
  LatentWork two = work_of(4, 3);
  two.add(10, 1, 0);
  EXPECT_EQ(two.rows, 4);
  EXPECT_EQ(two.keys, 7 + 11);
  EXPECT_EQ(two.pairs, 5 + 6 + 7 + 11);
}

/// Multiply-adds of one head of DeepSeek's, counted one row after the other.
bool counted(int64_t position, int64_t count) {
  int64_t absorbed = 0, expanded = 0;
  for (int64_t row = position; row < position + count; ++row) {
    for (int64_t key = 0; key <= row; ++key) {
      absorbed += 576 + 512;
      expanded += 192 + 128;
    }
    absorbed += 512 * 128;
  }
  for (int64_t key = 0; key < position + count; ++key) expanded += 512 * (128 + 128);
  return expanded < absorbed;
}

TEST(LatentWork, ManyRowsAreExpandedAndFewAbsorbed) {
  const Mla mla = *deepseek_layer().mla;
  const KvStore store = deepseek_store();
  for (const int64_t position : {0, 1, 100, 500, 3000}) {
    for (int64_t count = 1; count < 400; count += count < 150 ? 30 : 3) {
      EXPECT_EQ(expanding_is_less(mla, store, work_of(position, count)), counted(position, count))
          << count << " rows at " << position;
    }
  }
  EXPECT_FALSE(expanding_is_less(mla, store, work_of(100000, 1))) << "a token";
  EXPECT_FALSE(expanding_is_less(mla, store, work_of(100000, 160)));
  EXPECT_TRUE(expanding_is_less(mla, store, work_of(100000, 180))) << "a chunk far behind the start";
  EXPECT_TRUE(expanding_is_less(mla, store, work_of(0, 2048))) << "a prompt";
  EXPECT_TRUE(expanding_is_less(mla, store, work_of(limits::context - 4096, 4096)));
  EXPECT_FALSE(expanding_is_less(mla, store, work_of(0, 2048, 50))) << "each key is seen by too few rows";
}

TEST(HeadsAtOnce, StayWithinTheBytesButAreAtLeastOne) {
  const Layer layer = deepseek_layer();
  const KvStore store = deepseek_store();
  const int64_t of_one = 4 * (128 + 192 + 128);  // contents, keys and values of one head and key
  for (const int64_t keys : {1, 100, 2048, 4096, 131072}) {
    for (const int64_t bytes : {int64_t{1}, int64_t{1} << 20, MlaOptions().expanded_bytes, everything}) {
      const int64_t heads = heads_at_once(layer, store, keys, bytes);
      EXPECT_TRUE(heads == 1 || heads * keys * of_one <= bytes) << keys << " keys, " << bytes << " bytes";
      EXPECT_TRUE(heads == 16 || (heads + 1) * keys * of_one > bytes) << keys << " keys, " << bytes << " bytes";
      EXPECT_TRUE(heads >= 1 && heads <= 16);
    }
  }
}

RunOptions with(MlaForm form, int64_t bytes = everything) {
  RunOptions options;
  options.mla = {form, bytes};
  return options;
}

OneRun fed(const std::shared_ptr<const Model>& model, const std::vector<int64_t>& steps, RunOptions options) {
  options.logits = LogitsWanted::all();
  options.interventions = {{Intervention::Kind::zero_head, 0, 2}};
  OneRun run(model, options);
  const auto ids = random_ids(*model->architecture(), 60);
  size_t turn = 0;
  for (size_t begin = 0; begin < ids.size();) {
    const auto count = std::min(static_cast<size_t>(steps[turn++ % steps.size()]), ids.size() - begin);
    run.extend(std::span(ids).subspan(begin, count));
    begin += count;
  }
  return run;
}

std::vector<float> all_of(const RowsView& rows) { return {rows.row(0), rows.row(0) + rows.rows * rows.width()}; }

/// What a run tells of one layer: log-sum-exps, statistics, thumbnails, one list after the other.
std::vector<float> told_of(const LayerRows& layer) {
  std::vector<float> all;
  for (const RowsView* rows : {&layer.row_max, &layer.log_sum, &layer.statistics}) {
    const auto values = all_of(*rows);
    all.insert(all.end(), values.begin(), values.end());
  }
  all.insert(all.end(), layer.thumbnails->max.begin(), layer.thumbnails->max.end());
  return all;
}

/// The largest difference, relative to numbers above 1.
double worst(const std::vector<float>& expected, const std::vector<float>& found) {
  EXPECT_EQ(found.size(), expected.size());
  double largest = 0;
  for (size_t i = 0; i < std::min(found.size(), expected.size()); ++i) {
    const double error =
        std::abs(double{found[i]} - double{expected[i]}) / std::max(1.0, std::abs(double{expected[i]}));
    if (!(error <= largest)) largest = std::isnan(error) ? INFINITY : error;
  }
  return largest;
}

Architecture windowed_latents() {
  Architecture a = small_latent_architecture();
  a.layers[0].window = 20;  // the mask alone
  a.layers[1].window = a.layers[2].window = 25;
  a.kv_stores[1].window = 25;  // and what is kept
  return a;
}

Architecture alibi_latents(bool rounded) {
  Architecture a = small_latent_architecture();
  a.position = {};
  a.position.scheme = PositionScheme::alibi;
  a.position.alibi_slopes = {0.5, 0.25, 0.125, 0.0625};
  a.position.alibi_bf16 = rounded;
  for (Layer& layer : a.layers) layer.rotate_query = false;
  for (KvStore& store : a.kv_stores) store.keys_rotated = false;
  return a;
}

Architecture latents_rotated_on_read() {
  Architecture a = small_latent_architecture();
  for (Layer& layer : a.layers) layer.rotate_on_read = true;
  for (KvStore& store : a.kv_stores) store.keys_rotated = false;
  return a;
}

std::vector<Architecture> kinds_of_latents() {
  return {small_latent_architecture(), windowed_latents(), alibi_latents(false), alibi_latents(true),
          latents_rotated_on_read()};
}

/// Together, one by one, and in parts of which some are expanded.
const std::vector<std::vector<int64_t>> feedings = {{60}, {1}, {20, 1, 1}};

/// Log-sum-exps and statistics of the expanded form come from keys that maps never see.
void expect_same(const OneRun& expected, const OneRun& found, double allowed) {
  const auto logits = all_of(expected.logits());
  const auto [low, high] = std::minmax_element(logits.begin(), logits.end());
  EXPECT_LE(worst(logits, all_of(found.logits())), allowed * (*high - *low));
  const RunSnapshot one = expected.snapshot(), other = found.snapshot();
  EXPECT_EQ(one.kv_used_bytes(), other.kv_used_bytes());
  for (int64_t layer = 0; layer < 3; ++layer) {
    const LayerRows &left = one.layers[static_cast<size_t>(layer)], &right = other.layers[static_cast<size_t>(layer)];
    EXPECT_LE(worst(told_of(left), told_of(right)), 10 * allowed) << "layer " << layer;
    const TileQuery map{layer, 2, 0, 60, 0, 60};
    EXPECT_LE(worst(compute_tile(one, map, SerialFor()).cells, compute_tile(other, map, SerialFor()).cells), allowed);
  }
}

TEST(MlaForms, NaiveEqualsAbsorbed) {
  use_threads(1);  // these models are too small for more
  for (const Architecture& a : kinds_of_latents()) {
    const auto model = random_model(a);
    for (const auto& steps : feedings) {
      const OneRun absorbed = fed(model, steps, with(MlaForm::absorbed));
      const OneRun naive = fed(model, steps, with(MlaForm::naive));
      const OneRun usual = fed(model, steps, with(MlaForm::fewest_operations));
      EXPECT_NE(all_of(absorbed.logits()), all_of(naive.logits())) << "other sums, so other bits";
      expect_same(absorbed, naive, 2e-5);
      expect_same(absorbed, usual, 2e-5);
    }
  }
  const OneRun run = fed(random_model(small_latent_architecture()), {60}, {});
  EXPECT_EQ(run.snapshot().kv_used_bytes(), 2 * 60 * 15 * 4) << "latents and rope keys, whatever is made of them";
}

TEST(MlaForms, LatentsRotatedOnReadAreAsThoseStoredRotated) {
  for (const MlaForm form : {MlaForm::naive, MlaForm::absorbed}) {
    const OneRun stored = fed(random_model(small_latent_architecture()), {20, 1, 1}, with(form));
    const OneRun read = fed(random_model(latents_rotated_on_read()), {20, 1, 1}, with(form));
    EXPECT_EQ(all_of(read.logits()), all_of(stored.logits()));
  }
}

/// In a model of one layer no form changes what the cache holds, so bits tell which one a call took.
TEST(MlaForms, PromptsAreExpandedAndTokensAbsorbed) {
  Architecture a = small_latent_architecture();
  a.layers.resize(1);
  a.kv_stores.resize(1);
  const auto model = random_model(a);
  const std::vector<int64_t> steps = {55, 1, 1, 1, 1, 1};
  const OneRun usual = fed(model, steps, with(MlaForm::fewest_operations));
  const auto row = [](const OneRun& run, int64_t at) {
    return std::vector<float>(run.logits().row(at), run.logits().row(at) + run.logits().width());
  };
  const OneRun absorbed = fed(model, steps, with(MlaForm::absorbed)), naive = fed(model, steps, with(MlaForm::naive));
  int prompt_differs = 0, tokens_differ = 0;
  for (int64_t at = 0; at < 60; ++at) {
    EXPECT_EQ(row(usual, at), row(at < 55 ? naive : absorbed, at)) << "row " << at;
    if (row(absorbed, at) != row(naive, at)) ++(at < 55 ? prompt_differs : tokens_differ);
  }
  EXPECT_GT(prompt_differs, 40);
  EXPECT_GT(tokens_differ, 2);
}

TEST(MlaForms, HeadsExpandedInBlocksHaveTheSameBits) {
  use_threads(1);  // these models are too small for more
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const Architecture& a : kinds_of_latents()) {
      const auto model = random_weights("random", a, dtype);
      for (const auto& steps : feedings) {
        const OneRun whole = fed(model, steps, with(MlaForm::naive));
        // One head at a time, and about three: four heads are a block of three and one.
        for (const int64_t bytes : {int64_t{1}, int64_t{60 * 17 * 4 * 3}}) {
          const OneRun parts = fed(model, steps, with(MlaForm::naive, bytes));
          EXPECT_EQ(all_of(parts.logits()), all_of(whole.logits()));
          for (size_t layer = 0; layer < 3; ++layer) {
            EXPECT_EQ(told_of(parts.snapshot().layers[layer]), told_of(whole.snapshot().layers[layer]));
          }
        }
      }
    }
  }
}

/// Matrices in bf16 round what enters them, which the forms do not share; in the first layer nothing is rounded before
/// attention is done.
TEST(MlaForms, AgreeWithWeightsAndLatentsInBf16) {
  use_threads(1);  // these models are too small for more
  for (const Architecture& a : kinds_of_latents()) {
    const auto model = random_weights("random", a, DType::bf16);
    for (const auto& steps : feedings) {
      const OneRun absorbed = fed(model, steps, with(MlaForm::absorbed)),
                   naive = fed(model, steps, with(MlaForm::naive));
      EXPECT_LE(worst(told_of(absorbed.snapshot().layers[0]), told_of(naive.snapshot().layers[0])), 2e-4);
      EXPECT_LE(worst(all_of(absorbed.logits()), all_of(naive.logits())), 0.05);
    }
  }
}

/// Follows LibTorch's allocations of this thread.
class TensorBytes final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device) override {
    now_ += size;
    peak_ = std::max(peak_, now_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t peak() const { return peak_; }

 private:
  int64_t now_ = 0, peak_ = 0;
};

TEST(MlaForms, NoMoreThanABlockOfHeadsIsExpandedAtOnce) {
  Architecture a = small_latent_architecture();
  a.context = 600;
  a.layers.resize(1);
  a.kv_stores.resize(1);
  a.layers[0].q_heads = 16;
  a.layers[0].mla = Mla{0, 32, 32, 1e-6};
  a.kv_stores[0].value_dim = 64;
  a.kv_stores[0].key_dim = 68;
  const auto model = random_model(a);
  const auto ids = random_ids(a, 600);
  const auto peak = [&](int64_t bytes) {
    OneRun run(model, with(MlaForm::fewest_operations, bytes));
    const auto followed = std::make_shared<TensorBytes>();
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, followed);
    run.extend(ids);
    return followed->peak();
  };
  const int64_t of_one = 600 * (32 + 36 + 32) * 4;  // contents, keys, values
  const int64_t one = peak(1), eight = peak(8 * of_one), all = peak(everything);
  EXPECT_EQ(all - eight, 8 * of_one);
  EXPECT_LE(eight - one, 7 * of_one) << "less where another part of the layer has the peak";
  EXPECT_GT(eight, one);
}

}  // namespace
}  // namespace headscope
