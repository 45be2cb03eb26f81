#pragma once

#include <string>

#include "core/views/figure.h"

namespace headscope {

inline constexpr double legend_height = 36;  ///< of one that is not stacked

/// What a legend says besides the ramp itself.
struct LegendText {
  std::string first;   ///< "attention weight, logarithmic, 0.00104 to 1"
  std::string second;  ///< "largest weight of each cell of 4 x 4 tokens"
};

/// Ramp with its ticks and two lines of text, from `at` rightwards within `width` px; the text stands right of
/// the ramp, or below it when `stacked`, where the second may take two. With `invalid`, a swatch of the colour that
/// marks cells without a number. Returns the height it takes; 0 when it has no room and is left out.
double add_legend(Figure&, Point at, double width, const ColourScale&, const LegendText&, bool invalid, bool stacked,
                  const Layout&);

/// A weight in running text and lists: three decimals, more where they would all be 0.
std::string weight_text(double weight);

/// "logarithmic, 0.00104 to 1"
std::string scale_text(const ColourScale&);

/// "largest weight of 4 x 4 tokens a cell" or "one token a cell".
std::string pooling_text(int64_t bin, bool mean);

/// "; 3 values are not numbers", or empty for none.
std::string invalid_text(int64_t count);

/// The lowest colour of all maps of n keys on a log scale: 1 / (16 n).
double map_floor(int64_t kv_len);

}  // namespace headscope
