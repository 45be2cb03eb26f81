// Sums of query rows over keys and how parts of them are joined, compiled once per vector target.
#if defined(HEADSCOPE_SUMS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_SUMS_INL
#undef HEADSCOPE_SUMS_INL
#else
#define HEADSCOPE_SUMS_INL
#endif

#include "kernels/cpu/panel_state.h"
#include "kernels/cpu/scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

using F64 = hn::ScalableTag<double>;
using V64 = hn::Vec<F64>;
inline constexpr int64_t lanes64 = hn::MaxLanes(F64());

/// Calls `work(first lane)` for each vector of doubles of a panel.
template <class Work>
HWY_INLINE void for_each_double(const Work& work) {
  for (int64_t i = 0; i < panel_lanes; i += lanes64) work(i);
}

HWY_INLINE V64 load_doubles(const float* from) {
  return hn::PromoteTo(F64(), hn::LoadU(hn::Rebind<float, F64>(), from));
}

/// Multiplies the sums of a panel by `factors`, because its maxima rose by `rises`: factors = exp(-rises).
HWY_INLINE void shrink(PanelState& state, const float* factors, const float* rises) {
  const F64 d;
  for_each_double([&](int64_t i) HWY_ATTR {
    const V64 factor = load_doubles(factors + i);
    // Every score is `rise` further below the maximum: the cross term.
    const V64 cross =
        hn::Sub(hn::Load(d, state.cross + i), hn::Mul(load_doubles(rises + i), hn::Load(d, state.sum + i)));
    hn::Store(hn::IfThenElseZero(hn::Gt(factor, hn::Zero(d)), hn::Mul(factor, cross)), d, state.cross + i);
    for (double* sums : {state.sum, state.scatter, state.sink, state.window}) {
      hn::Store(hn::Mul(hn::Load(d, sums + i), factor), d, sums + i);
    }
  });
}

/// Raises the maxima of a panel to `peaks` where these are larger, and writes what values and bin sums must be
/// multiplied by.
HWY_INLINE void raise_maxima(PanelState& state, const float* peaks, float* factors) {
  const F d;
  HWY_ALIGN float rises[panel_floats];
  bool any = false;
  for (int64_t i = 0; i < panel_floats; i += lanes) {
    const V old = hn::Load(d, state.row_max + i), peak = hn::Load(d, peaks + i);
    const M raised = hn::Gt(peak, old);
    const V rise = hn::IfThenElseZero(raised, hn::Sub(peak, old));
    hn::Store(rise, d, rises + i);
    hn::Store(exp_negative(hn::Neg(rise)), d, factors + i);
    hn::Store(hn::IfThenElse(raised, peak, old), d, state.row_max + i);
    any = any || !hn::AllFalse(d, raised);
  }
  if (any) shrink(state, factors, rises);
}

/// Adds keys of weight `added`, their mean and their scatter about it. The two parts are joined by Chan, Golub and
/// LeVeque's update (1979); the difference of two raw moments would cancel at long distances.
HWY_INLINE void join_moments(PanelState& state, int64_t i, V64 added, V64 mean, V64 scatter) {
  const F64 d;
  const V64 before = hn::Load(d, state.sum + i), old_mean = hn::Load(d, state.mean + i);
  const V64 sum = hn::Add(before, added);
  const auto none = hn::Eq(added, hn::Zero(d));
  const V64 apart = hn::Sub(mean, old_mean), share = hn::Div(added, sum);
  const V64 between = hn::Mul(hn::Mul(apart, apart), hn::Mul(before, share));
  const V64 old_scatter = hn::Load(d, state.scatter + i);
  hn::Store(sum, d, state.sum + i);
  hn::Store(hn::IfThenElse(none, old_mean, hn::MulAdd(apart, share, old_mean)), d, state.mean + i);
  hn::Store(hn::IfThenElse(none, old_scatter, hn::Add(old_scatter, hn::Add(scatter, between))), d, state.scatter + i);
}

/// Adds the sums of later keys that have the same maxima; argmax is the caller's.
HWY_INLINE void join(PanelState& state, const PanelState& later) {
  const F64 d;
  for_each_double([&](int64_t i) HWY_ATTR {
    join_moments(state, i, hn::Load(d, later.sum + i), hn::Load(d, later.mean + i), hn::Load(d, later.scatter + i));
    const auto add = [&](double* to, const double* from)
                         HWY_ATTR { hn::Store(hn::Add(hn::Load(d, to + i), hn::Load(d, from + i)), d, to + i); };
    add(state.cross, later.cross);
    add(state.sink, later.sink);
    add(state.window, later.window);
  });
}

/// Floats that a row's sums take beside its state, in whole vectors.
struct SumsShape {
  int64_t values = 0;    ///< sums of w v
  int64_t bin_max = 0;   ///< largest score of each key bin of the thumbnails
  int64_t bin_sums = 0;  ///< w of each of these bins

  SumsShape() = default;
  SumsShape(const CpuProblem& p, const AttentionOutput& output) {
    const Thumbnails& wanted = output.thumbnails;
    if (output.out.data) values = padded_values(p.value_dim);
    if (wanted.max) bin_max = round_up(wanted.cells, lanes);
    if (wanted.sum) bin_sums = round_up(wanted.cells, lanes);
  }
};

/// Sums of the rows of a task over some keys: slot i belongs to row i, in panels of panel_rows.
struct Sums {
  SumsShape shape;
  PanelState* panels;
  float *values, *bin_max, *bin_sums;

  static Sums carve(Carver& carver, const SumsShape& shape, int64_t rows) {
    Sums sums{};
    sums.shape = shape;
    sums.panels = carver.take<PanelState>(round_up(rows, panel_rows) / panel_rows);
    sums.values = carver.take<float>(round_up(rows, panel_rows) * shape.values);
    sums.bin_max = carver.take<float>(rows * shape.bin_max);
    sums.bin_sums = carver.take<float>(rows * shape.bin_sums);
    return sums;
  }

  PanelState& panel_of(int64_t slot) const { return panels[slot / panel_rows]; }
  float* values_of(int64_t slot) const { return values + slot * shape.values; }
  float* bin_max_of(int64_t slot) const { return bin_max + slot * shape.bin_max; }
  float* bin_sums_of(int64_t slot) const { return bin_sums + slot * shape.bin_sums; }

  void clear(int64_t rows) const {
    const int64_t padded = round_up(rows, panel_rows);
    std::fill_n(panels, padded / panel_rows, PanelState{});
    std::fill_n(values, padded * shape.values, 0.0F);
    std::fill_n(bin_max, rows * shape.bin_max, minus_infinity);
    std::fill_n(bin_sums, rows * shape.bin_sums, 0.0F);
  }
};

/// to = to * keep + from * take
HWY_INLINE void mix(float* to, float keep, const float* from, float take, int64_t count) {
  const F d;
  const V k = hn::Set(d, keep), t = hn::Set(d, take);
  for (int64_t i = 0; i < count; i += lanes) {
    hn::Store(hn::MulAdd(hn::Load(d, to + i), k, hn::Mul(hn::Load(d, from + i), t)), d, to + i);
  }
}

/// Adds the sums of the first `rows` slots over later keys; `later` is used up.
inline void fold(const Sums& all, const Sums& later, int64_t rows) {
  const F d;
  const SumsShape& shape = all.shape;
  for (int64_t slot = 0; slot < rows; slot += panel_rows) {
    PanelState &state = all.panel_of(slot), &part = later.panel_of(slot);
    HWY_ALIGN float keep[panel_floats], take[panel_floats];
    for (int64_t i = 0; i < panel_rows; ++i) {
      if (part.row_max[i] > state.row_max[i]) state.argmax[i] = part.argmax[i];
    }
    raise_maxima(state, part.row_max, keep);
    raise_maxima(part, state.row_max, take);
    join(state, part);
    for (int64_t i = 0; i < panel_rows && slot + i < rows; ++i) {
      mix(all.values_of(slot + i), keep[i], later.values_of(slot + i), take[i], shape.values);
      mix(all.bin_sums_of(slot + i), keep[i], later.bin_sums_of(slot + i), take[i], shape.bin_sums);
      float* peaks = all.bin_max_of(slot + i);
      const float* other = later.bin_max_of(slot + i);
      for (int64_t c = 0; c < shape.bin_max; c += lanes) {
        hn::Store(hn::Max(hn::Load(d, other + c), hn::Load(d, peaks + c)), d, peaks + c);
      }
    }
  }
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
