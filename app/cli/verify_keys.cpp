#include <algorithm>
#include <cmath>

#include "app/cli/verify_checks.h"
#include "core/base/error.h"
#include "core/model/key_condition.h"

namespace headscope::cli {

void check_keys(const Model& model, const Progress& progress, Findings& findings) {
  const auto conditions = key_conditions(model, progress);
  if (conditions.empty()) return;
  const auto worst = std::max_element(conditions.begin(), conditions.end(),
                                      [](const auto& a, const auto& b) { return a.condition < b.condition; });
  // Keys are stored rounded, f32 by 2^-24 of themselves and bf16 by 2^-9: beyond this nothing of a value is left.
  const double most = std::ldexp(1.0, model.cache_element() == Element::f32 ? 24 : 9);
  findings.checks.push_back(
      {"condition of W_K", worst->condition < most,
       fmt::format(
           "values are made from keys, whose rounding grows by at most cond(W_K) = {:.4g}, in layer {} (to {:.1e} "
           "of a value); allowed {:.1e}",
           worst->condition, worst->layer, worst->condition / most, most)});
}

}  // namespace headscope::cli
