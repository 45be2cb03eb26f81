#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <imgui.h>

#include "core/views/colours.h"
#include "core/views/figure.h"

namespace headscope::gui {

/// Grids as one R32F texture: cell after cell in rows as long as the texture is wide, so that grids of every shape and
/// number fit. Internal to FigurePainter; needs OpenGL 3.3 throughout.
class GridTexture {
 public:
  GridTexture() = default;
  ~GridTexture();
  GridTexture(const GridTexture&) = delete;
  GridTexture& operator=(const GridTexture&) = delete;

  /// Takes over the values of all grids. Throws Error when the largest texture is too small.
  void fill(std::span<const Grid> grids);

  unsigned int id() const { return id_; }
  /// Log2 of the width.
  int shift() const { return shift_; }
  /// Where a grid's cells begin.
  int32_t offset(size_t grid) const { return offsets_[grid]; }
  size_t bytes() const { return sizeof(float) * static_cast<size_t>(rows_) << shift_; }

 private:
  unsigned int id_ = 0;
  int shift_ = 0;
  int64_t rows_ = 0;
  std::vector<int32_t> offsets_;
};

/// One image on the screen, in ImGui pixels.
struct ImageQuad {
  float left, top, right, bottom;        ///< the pixels it covers
  float begin_x, begin_y;                ///< where cell (0, 0) begins
  float cells_x, cells_y;                ///< cells a pixel
  int32_t offset, rows, cols, look = 0;  ///< look: row of the colour table, +256 when logarithmic
  float lo, hi, factor;                  ///< factor: ramp a unit, of the value or of its binary logarithm
};

/// Draws images of cells by a shader, so that range, ramp and logarithm cost nothing on the CPU.
class ImageLayer {
 public:
  /// Throws Error when the shader does not compile.
  ImageLayer();
  ~ImageLayer();
  ImageLayer(const ImageLayer&) = delete;
  ImageLayer& operator=(const ImageLayer&) = delete;

  /// What ImageQuad calls look, lo, hi and factor.
  static void set_scale(ImageQuad&, const ColourScale&, Theme);

  /// Forgets the quads of the frame before.
  void begin_frame();
  /// Draws the quads when the draw list is rendered, clipped as it clips then. The texture and this must live till
  /// then.
  void add(ImDrawList&, const GridTexture&, std::span<const ImageQuad>);

  size_t bytes() const;

 private:
  struct Call;
  static void render(const ImDrawList*, const ImDrawCmd*);
  void draw(const Call&, const ImDrawCmd&);

  unsigned int program_ = 0, array_ = 0, buffer_ = 0, colours_ = 0;
  int view_ = 0, frame_ = 0, shift_ = 0;  ///< places of uniforms
  std::vector<ImageQuad> quads_;
  size_t uploaded_ = 0;  ///< of quads_
};

}  // namespace headscope::gui
