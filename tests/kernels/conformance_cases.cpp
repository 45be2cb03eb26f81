#include "tests/kernels/conformance_cases.h"

#include "tests/kernels/tested_kernels.h"

namespace headscope::testing {
namespace {

/// Lengths around the tile edges against groups, head sizes and memory layouts. The axes have lengths without a
/// common factor or are shifted at each turn, so that the pairs differ from turn to turn.
void add_shapes(std::vector<CaseSpec>& cases) {
  const std::vector<int64_t> lengths = {1, 2, 31, 32, 33, 63, 64, 65, 127, 129};
  const std::vector<int64_t> head_sizes = {8, 16, 40, 64, 80, 96, 128, 192};
  const std::vector<std::pair<int64_t, int64_t>> heads = {{1, 1}, {4, 2}, {4, 1}, {8, 1}, {6, 6}, {16, 2}, {5, 1}};
  size_t turn = 0;
  for (const int64_t length : lengths) {
    for (size_t repeat = 0; repeat < 4; ++repeat, ++turn) {
      CaseSpec spec;
      const auto [q_heads, kv_heads] = heads[(turn + repeat) % heads.size()];
      spec.q_heads = q_heads;
      spec.kv_heads = kv_heads;
      spec.q_len = length;
      spec.kv_len = length + (repeat == 1 ? 70 : 0);
      spec.offset = spec.kv_len - length;
      spec.key_dim = head_sizes[(turn * 3 + repeat) % head_sizes.size()];
      spec.value_dim = repeat % 2 == 0 ? spec.key_dim : head_sizes[(turn * 5 + 1) % head_sizes.size()];
      spec.batch = 1 + static_cast<int64_t>(turn % 3 == 1);
      spec.memory = turn % 2 == 0 ? Memory::packed : Memory::interleaved;
      spec.causal = repeat != 3;
      spec.bin = 1 + static_cast<int64_t>(turn % 4);
      spec.poison = repeat == 2;
      spec.name = "length" + std::to_string(length) + "_turn" + std::to_string(repeat);
      cases.push_back(spec);
    }
  }
}

CaseSpec base(const char* name, int64_t q_len, int64_t kv_len) {
  CaseSpec spec = grouped_spec(q_len, kv_len);
  spec.name = name;
  spec.key_dim = spec.value_dim = 24;
  return spec;
}

/// `cases.push_back` of a base case with one or two fields changed.
template <class Change>
void add(std::vector<CaseSpec>& cases, const char* name, int64_t q_len, int64_t kv_len, const Change& change) {
  CaseSpec spec = base(name, q_len, kv_len);
  change(spec);
  cases.push_back(spec);
}

void add_masks(std::vector<CaseSpec>& cases) {
  add(cases, "window_1", 70, 70, [](CaseSpec& s) { s.window = 1; });
  add(cases, "window_5", 300, 300, [](CaseSpec& s) { s.window = 5, s.poison = true; });
  add(cases, "window_300_over_blocks", 400, 700, [](CaseSpec& s) { s.window = 300, s.poison = true; });
  add(cases, "window_kv_len", 65, 65, [](CaseSpec& s) { s.window = 65; });
  add(cases, "window_without_causal", 100, 270, [](CaseSpec& s) { s.window = 9, s.causal = false; });
  add(cases, "decode_in_window", 1, 600, [](CaseSpec& s) { s.window = 40, s.poison = true; });
  add(cases, "offset_leaves_keys_unseen", 40, 300, [](CaseSpec& s) { s.offset = 100, s.poison = true; });
  add(cases, "offset_negative_empty_rows", 40, 20, [](CaseSpec& s) { s.offset = -13; });
  add(cases, "offset_past_window_empty_rows", 20, 30, [](CaseSpec& s) { s.offset = 25, s.window = 8; });
  add(cases, "all_rows_empty", 10, 10, [](CaseSpec& s) { s.offset = -10; });
  add(cases, "offset_beyond_kv_len", 33, 64, [](CaseSpec& s) { s.offset = 200; });
  add(cases, "log_weights", 129, 129, [](CaseSpec& s) { s.log_weights = LogWeights::finite; });
  add(cases, "log_weights_holes", 90, 350,
      [](CaseSpec& s) { s.log_weights = LogWeights::holes, s.kv_heads = 4, s.poison = true; });
  add(cases, "log_weights_hide_a_head", 65, 70, [](CaseSpec& s) { s.log_weights = LogWeights::one_head_hidden; });
}

void add_scores(std::vector<CaseSpec>& cases) {
  add(cases, "soft_cap", 100, 100, [](CaseSpec& s) { s.soft_cap = 2; });
  add(cases, "soft_cap_50", 64, 300, [](CaseSpec& s) { s.soft_cap = 50, s.window = 70; });
  add(cases, "soft_cap_of_large_scores", 64, 64, [](CaseSpec& s) { s.soft_cap = 30, s.scores = Scores::large; });
  add(cases, "alibi", 300, 300, [](CaseSpec& s) { s.alibi = true; });
  add(cases, "alibi_decode", 1, 777, [](CaseSpec& s) { s.alibi = true, s.q_heads = 12; });
  add(cases, "alibi_without_causal", 40, 290, [](CaseSpec& s) { s.alibi = true, s.causal = false; });
  add(cases, "everything", 150, 400, [](CaseSpec& s) {
    s.soft_cap = 3, s.alibi = true, s.window = 200, s.log_weights = LogWeights::finite, s.batch = 2;
    s.memory = Memory::interleaved, s.value_dim = 40, s.sink_tokens = 5, s.window_tokens = 70;
  });
  add(cases, "rotated_keys", 70, 300, [](CaseSpec& s) { s.rotation = {RotationStyle::rotate_half, 24}; });
  add(cases, "rotated_keys_of_odd_size", 65, 301, [](CaseSpec& s) {
    s.rotation = {RotationStyle::interleaved, 10, 3, 1e4, 1.5}, s.key_dim = 17, s.window = 200, s.poison = true;
    s.scores = Scores::large, s.memory = Memory::interleaved, s.batch = 2;
  });
  add(cases, "rotated_keys_over_splits", 2, 2100, [](CaseSpec& s) {
    s.rotation = {RotationStyle::rotate_half, 16}, s.alibi = true;
  });
  add(cases, "large_scores", 130, 520, [](CaseSpec& s) { s.scores = Scores::large; });
  add(cases, "rising_scores", 150, 900, [](CaseSpec& s) { s.scores = Scores::rising; });
  add(cases, "falling_scores", 150, 900, [](CaseSpec& s) { s.scores = Scores::falling; });
  add(cases, "ties", 200, 600, [](CaseSpec& s) { s.scores = Scores::ties, s.key_dim = 4; });
}

void add_long_ones(std::vector<CaseSpec>& cases) {
  add(cases, "length1000", 1000, 1000, [](CaseSpec& s) { s.q_heads = 2, s.kv_heads = 1, s.key_dim = 64; });
  add(cases, "length1000_plus_1", 1000, 1001, [](CaseSpec& s) {
    s.q_heads = s.kv_heads = 1, s.value_dim = 80, s.sink_tokens = 300, s.window_tokens = 500, s.causal = false;
  });
  add(cases, "decode_group_of_40", 1, 1000, [](CaseSpec& s) { s.q_heads = 40, s.kv_heads = 1, s.key_dim = 64; });
  add(cases, "decode_group_of_100", 3, 300, [](CaseSpec& s) { s.q_heads = 100, s.kv_heads = 1; });
  // More than a split of keys (1,024): few rows are computed split by split.
  add(cases, "decode_over_splits", 1, 3000, [](CaseSpec& s) { s.scores = Scores::rising, s.scores_kept = true; });
  add(cases, "few_rows_over_splits", 3, 2500, [](CaseSpec& s) { s.window = 1500, s.soft_cap = 5, s.poison = true; });
  add(cases, "group_over_splits", 2, 2100,
      [](CaseSpec& s) { s.q_heads = 40, s.kv_heads = 1, s.alibi = s.scores_kept = true; });
  add(cases, "ties_over_splits", 3, 2100, [](CaseSpec& s) { s.scores = Scores::ties, s.q_heads = 8; });
  add(cases, "decode_over_splits_bf16", 4, 2100,
      [](CaseSpec& s) { s.element = Element::bf16, s.window = 1301, s.poison = true, s.memory = Memory::interleaved; });
  add(cases, "rows_over_splits", 20, 2100, [](CaseSpec& s) { s.scores = Scores::falling; });
  add(cases, "thumbnail_cut", 100, 100, [](CaseSpec& s) { s.cells = 7, s.bin = 5; });
  add(cases, "thumbnail_cells_256", 250, 250, [](CaseSpec& s) { s.cells = 256, s.bin = 1; });
  add(cases, "sink_0_window_0", 40, 40, [](CaseSpec& s) { s.sink_tokens = 0, s.window_tokens = 0; });
  add(cases, "odd_dims", 67, 67, [](CaseSpec& s) { s.key_dim = 13, s.value_dim = 7; });
  add(cases, "dims_of_1", 20, 20, [](CaseSpec& s) { s.key_dim = s.value_dim = 1; });
  add(cases, "key_192_value_128", 70, 300, [](CaseSpec& s) { s.key_dim = 192, s.value_dim = 128; });
}

/// Many rows of one plane: what variants of the CUDA library change (kernels/cuda/variants.cmake). Their short
/// conformance runs these (scripts/gpu_check_run.py).
void add_rows_of_bf16(std::vector<CaseSpec>& cases) {
  const auto add_bf16 = [&](const char* name, int64_t q_len, int64_t kv_len, int64_t dim, const auto& change) {
    add(cases, name, q_len, kv_len, [&](CaseSpec& s) {
      s.element = Element::bf16, s.key_dim = s.value_dim = dim, s.poison = true;
      change(s);
    });
  };
  add_bf16("rows_bf16", 140, 210, 128, [](CaseSpec&) {});
  add_bf16("rows_bf16_window", 75, 330, 128, [](CaseSpec& s) { s.window = 50, s.alibi = true; });
  add_bf16("rows_bf16_wide", 70, 150, 256, [](CaseSpec& s) { s.scores = Scores::large; });
}

/// Multiplications of one pass.
double cost(const CaseSpec& s) {
  return static_cast<double>(s.batch * s.q_heads * s.q_len * s.kv_len * (s.key_dim + s.value_dim));
}

}  // namespace

std::vector<CaseSpec> conformance_cases() {
  std::vector<CaseSpec> cases;
  add_shapes(cases);
  add_masks(cases);
  add_scores(cases);
  add_long_ones(cases);
  add_rows_of_bf16(cases);
  // The sanitizers are about ten times slower: leave out the cases that take half of the time.
  if (sanitized()) std::erase_if(cases, [](const CaseSpec& spec) { return cost(spec) > 2e7; });
  // Of the emulator's kernels, those that take a third of it; lengths of several tiles stay.
  if (tested_kernels().front().device == "cuda") {
    std::erase_if(cases, [](const CaseSpec& spec) { return cost(spec) > 5e7; });
  }
  return cases;
}

}  // namespace headscope::testing
