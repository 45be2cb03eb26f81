#include <epoxy/gl.h>
// OpenGL's functions come first.
#include <EGL/egl.h>
#include <EGL/eglext.h>
#include <imgui.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <utility>

#include "app/gui/platform/input.h"
#include "app/gui/platform/platform.h"
#include "app/gui/platform/renderer.h"
#include "core/base/error.h"

namespace headscope::gui {
namespace {

/// A display and context of EGL without a surface, current on this thread from construction to destruction.
class EglContext {
 public:
  EglContext() {
    open_display();
    try {
      make_context();
    } catch (...) {
      eglTerminate(display_);
      throw;
    }
  }
  ~EglContext() {
    eglMakeCurrent(display_, EGL_NO_SURFACE, EGL_NO_SURFACE, EGL_NO_CONTEXT);
    eglDestroyContext(display_, context_);
    eglTerminate(display_);
  }
  EglContext(const EglContext&) = delete;
  EglContext& operator=(const EglContext&) = delete;

 private:
  /// Mesa's surfaceless platform first, then whatever the system offers.
  void open_display() {
    const char* extensions = eglQueryString(EGL_NO_DISPLAY, EGL_EXTENSIONS);
    const auto get = reinterpret_cast<PFNEGLGETPLATFORMDISPLAYEXTPROC>(eglGetProcAddress("eglGetPlatformDisplayEXT"));
    if (extensions != nullptr && get != nullptr &&
        std::strstr(extensions, "EGL_MESA_platform_surfaceless") != nullptr &&
        initialised(get(EGL_PLATFORM_SURFACELESS_MESA, EGL_DEFAULT_DISPLAY, nullptr))) {
      return;
    }
    if (initialised(eglGetDisplay(EGL_DEFAULT_DISPLAY))) return;
    fail("drawing without a window needs EGL, and no EGL driver was found; install libegl1 and libgl1-mesa-dri.");
  }

  bool initialised(EGLDisplay display) {
    display_ = display;
    return display != EGL_NO_DISPLAY && eglInitialize(display, nullptr, nullptr) == EGL_TRUE;
  }

  void make_context() {
    const EGLint wanted[] = {EGL_SURFACE_TYPE, 0, EGL_RENDERABLE_TYPE, EGL_OPENGL_BIT, EGL_NONE};
    const EGLint attributes[] = {
        EGL_CONTEXT_MAJOR_VERSION,           3,       EGL_CONTEXT_MINOR_VERSION, 3, EGL_CONTEXT_OPENGL_PROFILE_MASK,
        EGL_CONTEXT_OPENGL_CORE_PROFILE_BIT, EGL_NONE};
    EGLConfig config = nullptr;
    EGLint configs = 0;
    if (eglBindAPI(EGL_OPENGL_API) == EGL_TRUE && eglChooseConfig(display_, wanted, &config, 1, &configs) == EGL_TRUE) {
      context_ = eglCreateContext(display_, configs > 0 ? config : nullptr, EGL_NO_CONTEXT, attributes);
    }
    if (context_ == EGL_NO_CONTEXT) {
      fail("the EGL driver ({}) offers no OpenGL 3.3; install libgl1-mesa-dri or set LIBGL_ALWAYS_SOFTWARE=1.",
           quoted(eglQueryString(display_, EGL_VENDOR)));
    }
    if (eglMakeCurrent(display_, EGL_NO_SURFACE, EGL_NO_SURFACE, context_) != EGL_TRUE) {
      eglDestroyContext(display_, context_);
      fail("the EGL driver ({}) cannot draw without a window; install libgl1-mesa-dri.",
           quoted(eglQueryString(display_, EGL_VENDOR)));
    }
  }

  EGLDisplay display_ = EGL_NO_DISPLAY;
  EGLContext context_ = EGL_NO_CONTEXT;
};

class Headless : public Platform {
 public:
  Headless(int width, int height, double scale) : scale_(scale) {
    ImGui::GetIO().BackendPlatformName = "headless";
    Headless::resize(width, height);
  }

  bool wait(double seconds) override {
    std::unique_lock lock(mutex_);
    if (!has_queued_input() && seconds > 0) {
      woken_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return is_woken_; });
    }
    return std::exchange(is_woken_, false) || has_queued_input();
  }

  bool had_input() const override { return has_queued_input(); }

  void wake() override {
    const std::lock_guard lock(mutex_);
    is_woken_ = true;
    woken_.notify_one();
  }

  void begin_frame(double seconds) override {
    renderer_.begin_frame();
    ImGuiIO& io = ImGui::GetIO();
    io.DisplaySize = {static_cast<float>(width_), static_cast<float>(height_)};
    io.DeltaTime = std::max(1e-6f, static_cast<float>(seconds));
    new_imgui_frame();
  }

  void end_frame(Rgb background) override {
    ImGui::Render();
    buffer_->bind();
    renderer_.draw(width_, height_, background);
    glFinish();  // as showing a frame does, so that times of frames hold their drawing
  }

  int width() const override { return width_; }
  int height() const override { return height_; }
  void resize(int width, int height) override {
    if (width < 1 || height < 1)
      fail("a picture of {} x {} pixels cannot be drawn; each side needs one or more.", width, height);
    buffer_ = std::make_unique<OffscreenBuffer>(width, height);
    width_ = width;
    height_ = height;
  }
  double content_scale() const override { return scale_; }

  bool close_requested() const override { return false; }
  void cancel_close() override {}
  void set_title(const std::string&) override {}

  Raster screenshot() override {
    buffer_->bind();
    return Renderer::pixels(width_, height_);
  }
  std::string renderer() const override { return Renderer::description(); }

 private:
  EglContext context_;
  Renderer renderer_;
  std::unique_ptr<OffscreenBuffer> buffer_;
  int width_ = 0, height_ = 0;
  double scale_;
  std::mutex mutex_;
  std::condition_variable woken_;
  bool is_woken_ = false;
};

}  // namespace

std::unique_ptr<Platform> open_headless(int width, int height, double scale) {
  return std::make_unique<Headless>(width, height, scale);
}

}  // namespace headscope::gui
