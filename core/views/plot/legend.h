#pragma once

#include <string>

#include "core/views/figure.h"

namespace headscope {

inline constexpr double legend_height = 36;

/// What a legend says besides the ramp itself.
struct LegendText {
  std::string first;   ///< "attention weight, logarithmic, 0.00104 to 1"
  std::string second;  ///< "largest weight of each cell of 4 x 4 tokens"
};

/// Ramp with its ticks, and two lines of text right of it, from `at` rightwards within `width` px. With
/// `invalid`, a swatch of the colour that marks cells without a number.
void add_legend(Figure&, Point at, double width, const ColourScale&, const LegendText&, bool invalid, const Layout&);

/// "logarithmic, 0.00104 to 1"
std::string scale_text(const ColourScale&);

/// "largest weight of 4 x 4 tokens a cell" or "one token a cell".
std::string pooling_text(int64_t bin, bool mean);

/// The lowest colour of all maps of n keys on a log scale: 1 / (16 n).
double map_floor(int64_t kv_len);

}  // namespace headscope
