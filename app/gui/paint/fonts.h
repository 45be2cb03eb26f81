#pragma once

#include <array>

#include <imgui.h>

#include "core/views/colours.h"
#include "core/views/fonts.h"

namespace headscope::gui {

/// The built-in fonts as ImGui fonts, with DejaVu Sans behind each for what it lacks. Glyphs load on demand; letters
/// keep the advances of TextMeasurer. Needs an ImGui context that has no font yet; the fonts live as long as it.
class Fonts {
 public:
  Fonts();

  /// For widgets: ImGui rounds their size to whole pixels, the letters in it stay as large as asked for.
  ImFont* font(TextRole role) const;
  /// For FigurePainter, at any size.
  ImFont* figure_font(TextRole role) const;
  /// What ImGui calls the size of the role's font, at `scale` pixels a px: em x (ascent - descent) / unitsPerEm, so
  /// that letters are as large as in SVG and PNG.
  float size(TextRole role, double scale) const;

 private:
  std::array<ImFont*, 4> fonts_{};  ///< by Font
  std::array<ImFont*, 4> figure_fonts_{};
};

/// Pushes the role's font for ImGui widgets in a scope.
class PushFont {
 public:
  PushFont(const Fonts& fonts, TextRole role, double scale) {
    ImGui::PushFont(fonts.font(role), fonts.size(role, scale));
  }
  ~PushFont() { ImGui::PopFont(); }
  PushFont(const PushFont&) = delete;
  PushFont& operator=(const PushFont&) = delete;
};

ImVec4 to_vec4(const Paint&, Theme);
ImU32 to_u32(const Paint&, Theme);
inline ImU32 to_u32(ColourRole role, Theme theme) { return to_u32(Paint{role}, theme); }

/// ImGui's own colours and measures as the style of the window wants them (grid of 4 px, row 26, control 32), for
/// widgets at `scale`. `accent` is the colour of the active model. Call it between frames: text sizes change with it.
void apply_style(Theme, double scale, ColourRole accent);

}  // namespace headscope::gui
