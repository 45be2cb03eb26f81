#pragma once

#include <string>

#include "core/views/write.h"

namespace headscope::gui {

/// ImGui's OpenGL back end on the current context, from construction to destruction. Internal to the platforms.
class Renderer {
 public:
  /// Throws Error when the context is older than OpenGL 3.3.
  Renderer();
  ~Renderer();
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  void begin_frame();
  /// Draws what ImGui::Render() made over `background` into the bound frame buffer.
  void draw(int width, int height, Rgb background);
  /// The bound frame buffer's pixels.
  static Raster pixels(int width, int height);

  /// "llvmpipe (LLVM 15.0.6, 256 bits), OpenGL 4.5".
  static std::string description();
};

/// A frame buffer of its own, black at first; bound and unbound by hand.
class OffscreenBuffer {
 public:
  /// Throws Error when the driver has no room for it.
  OffscreenBuffer(int width, int height);
  ~OffscreenBuffer();
  OffscreenBuffer(const OffscreenBuffer&) = delete;
  OffscreenBuffer& operator=(const OffscreenBuffer&) = delete;

  void bind() const;

 private:
  unsigned int frame_ = 0, colour_ = 0;
};

}  // namespace headscope::gui
