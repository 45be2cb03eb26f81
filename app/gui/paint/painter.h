#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include <imgui.h>

#include "app/gui/paint/fonts.h"
#include "core/views/figure.h"

namespace headscope::gui {

/// Paints Figures into ImGui draw lists. All images of one figure lie in one R32F texture and are drawn by one shader
/// callback, so range, palette and log scale cost nothing on the CPU. Needs a current OpenGL 3.3 context from
/// construction to destruction. UI thread only.
class FigurePainter {
 public:
  explicit FigurePainter(const Fonts&);
  ~FigurePainter();
  FigurePainter(const FigurePainter&) = delete;
  FigurePainter& operator=(const FigurePainter&) = delete;

  /// Draws `figure` with its top left at `origin` (ImGui pixels), every px of it `scale` pixels large, clipped to the
  /// draw list's current clip rectangle. `place` names where it is shown ("centre", "head"): each place keeps its
  /// texture, which is filled again when `version` differs from the last one drawn there. The figure must live until
  /// the frame has been rendered.
  void paint(const Figure& figure, std::string_view place, uint64_t version, ImDrawList&, ImVec2 origin, double scale,
             Theme theme);

  /// Bytes of all textures, for the log and for leak tests.
  size_t texture_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace headscope::gui
