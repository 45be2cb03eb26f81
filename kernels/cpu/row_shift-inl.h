// From scores to weights where the log-sum-exp is known, compiled once per vector target.
#if defined(HEADSCOPE_ROW_SHIFT_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_ROW_SHIFT_INL
#undef HEADSCOPE_ROW_SHIFT_INL
#else
#define HEADSCOPE_ROW_SHIFT_INL
#endif

#include "kernels/cpu/plan.h"
#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// What is taken off the scores of a row, which are relative to the query's position as the forward pass has them.
/// Not for empty rows.
struct RowShift {
  float shift;  ///< row_max, relative too
  float rest;   ///< log_sum, and what shift was rounded by

  RowShift(const QueryRow& row, float row_max, float log_sum) {
    const double relative = double{row_max} - double{row.slope} * static_cast<double>(row.position);
    shift = static_cast<float>(relative);
    rest = static_cast<float>(double{log_sum} + (relative - double{shift}));
  }

  /// score - row_max - log_sum, the logarithm of the weight.
  HWY_INLINE V below(V score) const {
    const F d;
    return hn::Sub(hn::Sub(score, hn::Set(d, shift)), hn::Set(d, rest));
  }
};

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
