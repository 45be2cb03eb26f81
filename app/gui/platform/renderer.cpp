#include "app/gui/platform/renderer.h"

#include <epoxy/gl.h>
#include <fmt/format.h>
#include <imgui.h>
#include <imgui_impl_opengl3.h>

#include <algorithm>

#include "core/base/error.h"

namespace headscope::gui {
namespace {

std::string gl_text(GLenum name) {
  const auto* text = reinterpret_cast<const char*>(glGetString(name));
  return text != nullptr ? text : "unknown";
}

}  // namespace

Renderer::Renderer() {
  GLint major = 0, minor = 0;
  glGetIntegerv(GL_MAJOR_VERSION, &major);
  glGetIntegerv(GL_MINOR_VERSION, &minor);
  if (major * 10 + minor < 33) {
    fail("the graphics driver ({}) has OpenGL {}.{}, HeadScope needs 3.3; update it or set LIBGL_ALWAYS_SOFTWARE=1.",
         quoted(gl_text(GL_RENDERER)), major, minor);
  }
  if (!ImGui_ImplOpenGL3_Init("#version 330 core")) {
    fail("the functions of OpenGL could not be loaded; install libgl1 and libegl1, or update the graphics driver.");
  }
}

Renderer::~Renderer() { ImGui_ImplOpenGL3_Shutdown(); }

void Renderer::begin_frame() { ImGui_ImplOpenGL3_NewFrame(); }

void Renderer::draw(int width, int height, Rgb background) {
  glViewport(0, 0, width, height);
  glDisable(GL_SCISSOR_TEST);
  const auto part = [](uint8_t channel) { return static_cast<float>(channel) / 255.0f; };
  glClearColor(part(background.r), part(background.g), part(background.b), 1);
  glClear(GL_COLOR_BUFFER_BIT);
  ImGui_ImplOpenGL3_RenderDrawData(ImGui::GetDrawData());
}

Raster Renderer::pixels(int width, int height) {
  Raster out{width, height, {}};
  const size_t row = static_cast<size_t>(width) * 3;
  std::vector<uint8_t> upside_down(row * static_cast<size_t>(height));
  glPixelStorei(GL_PACK_ALIGNMENT, 1);
  glReadPixels(0, 0, width, height, GL_RGB, GL_UNSIGNED_BYTE, upside_down.data());
  out.rgb.resize(upside_down.size());
  for (size_t y = 0; y < static_cast<size_t>(height); ++y) {
    std::copy_n(upside_down.data() + (static_cast<size_t>(height) - 1 - y) * row, row, out.rgb.data() + y * row);
  }
  return out;
}

std::string Renderer::description() {
  GLint major = 0, minor = 0;
  glGetIntegerv(GL_MAJOR_VERSION, &major);
  glGetIntegerv(GL_MINOR_VERSION, &minor);
  return fmt::format("{}, OpenGL {}.{}", gl_text(GL_RENDERER), major, minor);
}

OffscreenBuffer::OffscreenBuffer(int width, int height) {
  const auto refuse = [&] {
    fail("the graphics driver has no room for a picture of {} x {} pixels; choose a smaller size.", width, height);
  };
  GLint largest = 0;
  glGetIntegerv(GL_MAX_RENDERBUFFER_SIZE, &largest);
  if (width > largest || height > largest) refuse();
  glGenFramebuffers(1, &frame_);
  glGenRenderbuffers(1, &colour_);
  glBindRenderbuffer(GL_RENDERBUFFER, colour_);
  glRenderbufferStorage(GL_RENDERBUFFER, GL_RGBA8, width, height);
  bind();
  glFramebufferRenderbuffer(GL_FRAMEBUFFER, GL_COLOR_ATTACHMENT0, GL_RENDERBUFFER, colour_);
  if (glCheckFramebufferStatus(GL_FRAMEBUFFER) == GL_FRAMEBUFFER_COMPLETE) {
    glClear(GL_COLOR_BUFFER_BIT);
    return;
  }
  glDeleteFramebuffers(1, &frame_);
  glDeleteRenderbuffers(1, &colour_);
  refuse();
}

OffscreenBuffer::~OffscreenBuffer() {
  glDeleteFramebuffers(1, &frame_);
  glDeleteRenderbuffers(1, &colour_);
}

void OffscreenBuffer::bind() const { glBindFramebuffer(GL_FRAMEBUFFER, frame_); }

}  // namespace headscope::gui
