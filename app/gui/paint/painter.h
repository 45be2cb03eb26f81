#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include <imgui.h>

#include "app/gui/paint/fonts.h"
#include "core/views/figure.h"

namespace headscope::gui {

/// Paints Figures into ImGui draw lists, with the pixels of the PNG writer: image cells and level shapes the same, text
/// and slanted edges nearly. All images of one figure lie in one R32F texture and are drawn by one shader callback
/// (more where something lies between them), so range, palette and log scale cost nothing on the CPU. Needs a current
/// OpenGL 3.3 context from construction to destruction, and to outlive the rendering of the frame. UI thread only.
class FigurePainter {
 public:
  explicit FigurePainter(const Fonts&);
  ~FigurePainter();
  FigurePainter(const FigurePainter&) = delete;
  FigurePainter& operator=(const FigurePainter&) = delete;

  /// Draws `figure` with its top left at `origin` (ImGui pixels, rounded to whole ones), every px of it `scale` pixels
  /// large, clipped to the draw list's current clip rectangle. `place` names where it is shown ("centre", "head"): each
  /// place keeps texts' widths and a texture of the images' values, which are taken again when `version` differs from
  /// the last one drawn there, so a changed figure needs a new version (colours and ranges may change without). One
  /// figure a place and frame. `on_background`: the caller has filled the place with the figure's background; where a
  /// processor draws, filling it twice costs a quarter of a frame. A place that is not shown for some hundred frames is
  /// forgotten. Throws Error when the images have more cells in sight than the largest texture.
  void paint(const Figure& figure, std::string_view place, uint64_t version, ImDrawList&, ImVec2 origin, double scale,
             Theme theme, bool on_background = false);

  /// Bytes of all textures, for the log and for leak tests.
  size_t texture_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace headscope::gui
