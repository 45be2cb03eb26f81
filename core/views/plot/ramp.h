#pragma once

#include <span>
#include <vector>

#include "core/views/colours.h"

namespace headscope {

enum class Ramp {
  attention,   ///< lightness rises with the value (falls in the light theme)
  difference,  ///< B, panel, A: diverging, meant for a range centred on 0
};

/// Colour of `position` in [0, 1]: linear in CIE L*a*b* between the ramp's stops, so that lightness is monotone
/// between any two of them.
Rgb ramp_colour(Ramp, Theme, double position);

/// The stops, low to high, evenly spaced.
std::span<const Rgb> ramp_stops(Ramp, Theme);

/// How values become colours.
struct ColourScale {
  Ramp ramp = Ramp::attention;
  double lo = 0;
  double hi = 1;
  bool logarithmic = false;  ///< needs lo > 0

  /// Where `value` lies on the ramp, clamped to [0, 1]; NaN for NaN.
  double position(double value) const;
  friend bool operator==(const ColourScale&, const ColourScale&) = default;
};

/// The colours of an image's cells, from a table of 1,024 steps. NaN gets the role `invalid`.
class CellColours {
 public:
  CellColours(const ColourScale&, Theme);
  const ColourScale& scale() const { return scale_; }
  Rgb operator()(double value) const;

 private:
  ColourScale scale_;
  Rgb invalid_;
  std::vector<Rgb> steps_;
};

}  // namespace headscope
