#pragma once

#include <cstdint>

namespace headscope {

enum class Theme { dark, light };

/// What a colour is for. Views name roles; a painter or writer asks `colour()` for the theme in use.
enum class ColourRole {
  window,
  panel,
  raised,
  line,
  text,
  dim,
  model_a,
  model_b,
  warning,
  error,
  category_1,
  category_2,
  category_3,
  category_4,
  category_5,
  category_6,
  selection,   ///< outline and crosshair of what is selected; stands out on both ends of a ramp
  invalid,     ///< a cell that holds no number; a hue that no ramp has
  plate,       ///< under text that lies on a map, drawn at 92 %
  plate_text,  ///< text on a plate
};

struct Rgb {
  uint8_t r = 0, g = 0, b = 0;
  friend bool operator==(const Rgb&, const Rgb&) = default;
};

Rgb colour(ColourRole, Theme);

/// A role and how much of it covers what lies below, 0 to 1.
struct Paint {
  ColourRole role = ColourRole::text;
  double opacity = 1;
};

/// CIE lightness L* of an sRGB colour, 0 to 100 (D65).
double lightness(Rgb);

/// WCAG 2 contrast ratio, 1 to 21.
double contrast(Rgb, Rgb);

/// CIE L*a*b* (D65) and back; `from_lab` clips to sRGB.
struct Lab {
  double l = 0, a = 0, b = 0;
};
Lab to_lab(Rgb);
Rgb from_lab(const Lab&);

}  // namespace headscope
