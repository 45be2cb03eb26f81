#include <array>
#include <functional>
#include <set>

#include "tests/kernels/conformance_cases.h"
#include "tests/kernels/tested_kernels.h"

namespace headscope::testing {
namespace {

/// One thing that differs between cases: how many values it has, and what each sets.
struct Axis {
  const char* name;
  size_t values;
  std::function<void(CaseSpec&, size_t value)> set;
};

const std::vector<int64_t> lengths = {1, 2, 31, 32, 33, 63, 64, 65, 127, 129, 1000};
const std::vector<int64_t> key_dims = {8, 16, 40, 64, 80, 96, 128, 192, 576};

template <class T>
Axis axis(const char* name, std::vector<T> values, T CaseSpec::*field) {
  const size_t count = values.size();
  return {name, count, [values, field](CaseSpec& spec, size_t value) { spec.*field = values[value]; }};
}

void set_heads(CaseSpec& spec, size_t value) {
  constexpr std::array<std::pair<int64_t, int64_t>, 5> heads = {{{6, 6}, {4, 2}, {8, 2}, {16, 2}, {5, 1}}};
  spec.q_heads = heads[value].first;
  spec.kv_heads = heads[value].second;
}

/// Value sizes go by the key's: equal, smaller (as in MLA), odd.
void set_value_dim(CaseSpec& spec, size_t value) {
  spec.value_dim = value == 0 ? spec.key_dim : value == 1 ? spec.key_dim / 8 * 7 : 13;
}

void set_offset(CaseSpec& spec, size_t value) {
  const int64_t last = spec.kv_len - spec.q_len;  // the usual one: the last row sees every key
  spec.offset = value == 0 ? last : value == 1 ? 0 : value == 2 ? -spec.q_len / 2 - 1 : spec.kv_len + 3;
}

void set_window(CaseSpec& spec, size_t value) {
  spec.window = value == 0 ? 0 : value == 1 ? 1 : value == 2 ? spec.kv_len : 40;
}

void set_rotation(CaseSpec& spec, size_t value) {
  if (value == 1) spec.rotation = {RotationStyle::rotate_half, spec.key_dim};
  if (value == 2) spec.rotation = {RotationStyle::interleaved, spec.key_dim / 4 * 2, 2, 1e4, 1.25};
  if (value == 3) spec.rotation = {RotationStyle::rotate_half, spec.key_dim - 6, 6, 1e4};
}

void set_thumbnail(CaseSpec& spec, size_t value) {
  spec.cells = value == 2 ? 5 : 64;
  spec.bin = value == 0 ? (spec.kv_len + 63) / 64 : value == 1 ? 3 : 16;
}

/// Axes that others go by come first.
std::vector<Axis> all_axes() {
  return {
      axis("q", lengths, &CaseSpec::q_len),
      axis("kv", lengths, &CaseSpec::kv_len),
      {"heads", 5, set_heads},
      axis("key", key_dims, &CaseSpec::key_dim),
      {"value", 3, set_value_dim},
      axis<int64_t>("batch", {1, 2}, &CaseSpec::batch),
      axis("memory", std::vector{Memory::packed, Memory::interleaved}, &CaseSpec::memory),
      axis("causal", std::vector{true, false}, &CaseSpec::causal),
      {"offset", 4, set_offset},
      {"window", 4, set_window},
      axis("cap", std::vector{0.0F, 2.0F, 50.0F}, &CaseSpec::soft_cap),
      axis("alibi", std::vector{false, true}, &CaseSpec::alibi),
      axis("weights", std::vector{LogWeights::none, LogWeights::finite, LogWeights::holes, LogWeights::one_head_hidden},
           &CaseSpec::log_weights),
      axis("scores", std::vector{Scores::normal, Scores::large, Scores::rising, Scores::falling, Scores::ties},
           &CaseSpec::scores),
      axis("poison", std::vector{false, true}, &CaseSpec::poison),
      {"thumbnail", 3, set_thumbnail},
      axis<int64_t>("sink", {1, 0, 300}, &CaseSpec::sink_tokens),
      {"rotation", 4, set_rotation},
      axis("element", std::vector{Element::f32, Element::bf16}, &CaseSpec::element),
      axis("kept", std::vector{false, true}, &CaseSpec::scores_kept),
  };
}

using Choice = std::vector<size_t>;  ///< a value for each axis

CaseSpec spec_of(const std::vector<Axis>& axes, const Choice& choice) {
  CaseSpec spec;
  for (size_t a = 0; a < axes.size(); ++a) {
    axes[a].set(spec, choice[a]);
    spec.name += std::string(a > 0 ? "_" : "") + axes[a].name + std::to_string(choice[a]);
  }
  return spec;
}

double cost(const CaseSpec& s) {
  return static_cast<double>(s.batch * s.q_heads * s.q_len * s.kv_len * (s.key_dim + s.value_dim));
}

/// Pairs of values that no case has yet.
class OpenPairs {
 public:
  explicit OpenPairs(const std::vector<Axis>& axes) {
    for (size_t a = 0; a < axes.size(); ++a) {
      for (size_t b = a + 1; b < axes.size(); ++b) {
        for (size_t v = 0; v < axes[a].values; ++v) {
          for (size_t w = 0; w < axes[b].values; ++w) open_.insert({a, v, b, w});
        }
      }
    }
  }
  bool empty() const { return open_.empty(); }
  const std::array<size_t, 4>& first() const { return *open_.begin(); }
  bool contains(size_t a, size_t v, size_t b, size_t w) const {
    return open_.contains(a < b ? std::array{a, v, b, w} : std::array{b, w, a, v});
  }
  void close(const Choice& choice) {
    for (size_t a = 0; a < choice.size(); ++a) {
      for (size_t b = a + 1; b < choice.size(); ++b) open_.erase({a, choice[a], b, choice[b]});
    }
  }

 private:
  std::set<std::array<size_t, 4>> open_;
};

/// A case with one open pair, and then, axis by axis, the value that closes most; of dear ones the first of each axis.
Choice next_choice(const std::vector<Axis>& axes, const OpenPairs& open) {
  const auto [a, v, b, w] = open.first();
  Choice choice(axes.size());
  std::vector<bool> chosen(axes.size());
  choice[a] = v, choice[b] = w;
  chosen[a] = chosen[b] = true;
  constexpr double dear = 4e7;
  for (size_t axis = 0; axis < axes.size(); ++axis) {
    if (chosen[axis]) continue;
    size_t best = 0, most = 0;
    for (size_t value = 0; value < axes[axis].values; ++value) {
      Choice tried = choice;
      tried[axis] = value;
      if (value > 0 && cost(spec_of(axes, tried)) > dear) continue;
      size_t closes = 0;
      for (size_t other = 0; other < axes.size(); ++other) {
        if (chosen[other]) closes += open.contains(axis, value, other, choice[other]);
      }
      if (closes > most) best = value, most = closes;
    }
    choice[axis] = best;
    chosen[axis] = true;
  }
  return choice;
}

}  // namespace

std::vector<CaseSpec> covering_cases() {
  const std::vector<Axis> axes = all_axes();
  OpenPairs open(axes);
  std::vector<CaseSpec> cases;
  while (!open.empty()) {
    const Choice choice = next_choice(axes, open);
    open.close(choice);
    cases.push_back(spec_of(axes, choice));
  }
  if (sanitized()) std::erase_if(cases, [](const CaseSpec& spec) { return cost(spec) > 2e6; });
  // Of the emulator's kernels, those that take a third of it; lengths of several tiles stay.
  if (tested_kernels().front().device == "cuda") {
    std::erase_if(cases, [](const CaseSpec& spec) { return cost(spec) > 5e7; });
  }
  return cases;
}

std::vector<CaseSpec> covering_cases_in_time() {
  const std::vector<CaseSpec> all = covering_cases();
  if (tested_kernels().front().name != "cuda/emulated" || std::getenv("HEADSCOPE_FULL") != nullptr) return all;
  std::vector<CaseSpec> some;
  for (size_t i = 0; i < all.size(); i += 4) some.push_back(all[i]);
  return some;
}

std::vector<CaseSpec> product_cases() {
  const std::vector<Axis> axes = all_axes();
  std::vector<CaseSpec> cases;
  size_t turn = 0;
  for (size_t q = 0; q < lengths.size(); ++q) {
    for (size_t kv = 0; kv < lengths.size(); ++kv) {
      for (size_t heads = 0; heads < 5; ++heads) {
        for (size_t key = 0; key < key_dims.size(); ++key, ++turn) {
          Choice choice = {q, kv, heads, key};
          // Numbers of values without a common factor with the steps: no two axes turn together for long.
          for (size_t a = 4; a < axes.size(); ++a) choice.push_back(turn / (a - 3) % axes[a].values);
          cases.push_back(spec_of(axes, choice));
        }
      }
    }
  }
  return cases;
}

}  // namespace headscope::testing
