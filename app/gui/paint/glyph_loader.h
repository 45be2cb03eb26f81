#pragma once

#include <imgui.h>
#include <imgui_internal.h>

#include "core/views/font_faces.h"

namespace headscope::gui {

/// ImGui's glyphs from the built-in fonts. ImGui's own loader rounds the advances of hinted letters to pixels; this one
/// keeps the exact ones of TextMeasurer, hints only vertically, as the PNG writer does, and renders letters finer along
/// the line than across, so that they stay crisp at fractional places. Owned by the font atlas. Internal to Fonts and
/// FigurePainter.
class GlyphLoader {
 public:
  /// What a source's ImFontConfig::FontLoaderFlags hold: the Font and, for figures, this bit.
  static constexpr unsigned int for_figures = 1U << 8;

  static const ImFontLoader* callbacks();
  /// Needs an atlas whose loader is `callbacks()` and that has a font.
  static GlyphLoader& of(const ImFontAtlas& atlas) { return *static_cast<GlyphLoader*>(atlas.FontLoaderData); }

  /// What ImGui calls the size of a font whose em is 1: (ascent - descent) / unitsPerEm.
  double height_of_em(Font) const;

  /// Pixels a px of widgets. ImGui rounds the sizes of their fonts; the loader undoes that for the sizes in use at this
  /// scale. Returns whether it changed, so that widget fonts have to be loaded again.
  bool set_scale(double);

 private:
  static GlyphLoader& of(const ImFontAtlas* atlas) { return of(*atlas); }
  static bool init_baked(ImFontAtlas*, ImFontConfig*, ImFontBaked*, void*);
  static int find(ImFontAtlas*, ImFontConfig*, ImWchar code_point);
  static bool load(ImFontAtlas*, ImFontConfig*, ImFontBaked*, void*, int code_point, ImFontGlyph*, float* only_advance);

  /// Em of the glyphs of a source that ImGui wants at `size`, before density.
  double em(const ImFontConfig& source, float size) const;
  bool render(ImFontAtlas&, ImFontConfig&, ImFontBaked&, const FontFaces::Glyph&, double em_pixels, ImFontGlyph&);

  FontFaces faces_;
  double scale_ = 1;
};

}  // namespace headscope::gui
