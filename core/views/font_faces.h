#pragma once

#include <ft2build.h>
#include FT_FREETYPE_H

#include <array>
#include <map>
#include <memory>

#include "core/views/fonts.h"

namespace headscope {

/// The built-in fonts as FreeType faces. Internal to measuring and rasterising; not thread-safe.
class FontFaces {
 public:
  FontFaces();
  ~FontFaces();
  FontFaces(const FontFaces&) = delete;
  FontFaces& operator=(const FontFaces&) = delete;

  struct Glyph {
    FT_Face face = nullptr;
    FT_UInt index = 0;   ///< 0: no font has the character
    double advance = 0;  ///< in em
  };

  /// The glyph of `code_point` in `font`, else in DejaVu Sans, else the empty box of `font`.
  Glyph glyph(Font font, char32_t code_point) const;
  FT_Library library() const { return library_; }

 private:
  Glyph find_glyph(Font font, char32_t code_point) const;

  FT_Library library_ = nullptr;
  std::array<FT_Face, 4> faces_{};
  mutable std::array<std::array<Glyph, 128>, 4>
      ascii_{};  ///< found ones; most text is ASCII, and a look-up is too slow
  mutable std::map<std::pair<Font, char32_t>, Glyph> glyphs_;
};

}  // namespace headscope
