#include <epoxy/gl.h>
// GLFW brings no OpenGL header of its own when one is there.
#include <GLFW/glfw3.h>
#include <imgui.h>
#include <imgui_impl_glfw.h>

#include <atomic>
#include <cmath>
#include <utility>

#include "app/gui/platform/input.h"
#include "app/gui/platform/platform.h"
#include "app/gui/platform/renderer.h"
#include "core/base/error.h"

namespace headscope::gui {
namespace {

/// The reason GLFW gave last, for a message.
std::string glfw_reason() {
  const char* text = nullptr;
  return glfwGetError(&text) != GLFW_NO_ERROR && text != nullptr ? text : "no reason given";
}

/// A GLFW window with a current OpenGL 3.3 core context.
class GlfwWindow {
 public:
  explicit GlfwWindow(const WindowOptions& options) {
    if (glfwInit() != GLFW_TRUE) {
      fail(
          "no window can be opened ({}); start HeadScope on a desktop, set DISPLAY, or draw without a window "
          "by --headless.",
          quoted(glfw_reason(), 200));
    }
    glfwWindowHint(GLFW_CONTEXT_VERSION_MAJOR, 3);
    glfwWindowHint(GLFW_CONTEXT_VERSION_MINOR, 3);
    glfwWindowHint(GLFW_OPENGL_PROFILE, GLFW_OPENGL_CORE_PROFILE);
    glfwWindowHint(GLFW_OPENGL_FORWARD_COMPAT, GLFW_TRUE);
    glfwWindowHint(GLFW_SCALE_TO_MONITOR, GLFW_TRUE);
    glfwWindowHintString(GLFW_X11_CLASS_NAME, "headscope");
    window_ = glfwCreateWindow(options.width, options.height, options.title.c_str(), nullptr, nullptr);
    if (window_ == nullptr) {
      const std::string reason = glfw_reason();
      glfwTerminate();
      fail(
          "no window with OpenGL 3.3 can be opened ({}); update the graphics driver, set LIBGL_ALWAYS_SOFTWARE=1, or "
          "draw without a window by --headless.",
          quoted(reason, 200));
    }
    glfwSetWindowSizeLimits(window_, smallest_width, smallest_height, GLFW_DONT_CARE, GLFW_DONT_CARE);
    glfwMakeContextCurrent(window_);
    glfwSwapInterval(1);
  }
  ~GlfwWindow() {
    glfwDestroyWindow(window_);
    glfwTerminate();
  }
  GlfwWindow(const GlfwWindow&) = delete;
  GlfwWindow& operator=(const GlfwWindow&) = delete;

  GLFWwindow* get() const { return window_; }

 private:
  GLFWwindow* window_ = nullptr;
};

class Window : public Platform {
 public:
  explicit Window(const WindowOptions& options) : window_(options) {
    glfwSetWindowUserPointer(window_.get(), this);
    note_events();
    // ImGui's callbacks come after ours and call them.
    ImGui_ImplGlfw_InitForOpenGL(window_.get(), true);
  }
  ~Window() override { ImGui_ImplGlfw_Shutdown(); }
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;

  bool wait(double seconds) override {
    if (seconds > 0 && !has_queued_input() && !woken_) {
      glfwWaitEventsTimeout(seconds);
    } else {
      glfwPollEvents();
    }
    const bool woken = woken_.exchange(false), happened = std::exchange(happened_, false);
    had_input_ = happened || has_queued_input();
    return woken || had_input_;
  }

  bool had_input() const override { return had_input_; }

  void wake() override {
    woken_ = true;
    glfwPostEmptyEvent();
  }

  void begin_frame(double) override {
    renderer_.begin_frame();
    ImGui_ImplGlfw_NewFrame();
    new_imgui_frame();
  }

  void end_frame(Rgb background) override {
    ImGui::Render();
    background_ = background;
    glBindFramebuffer(GL_FRAMEBUFFER, 0);
    renderer_.draw(width(), height(), background);
    glfwSwapBuffers(window_.get());
  }

  int width() const override { return drawing_size().first; }
  int height() const override { return drawing_size().second; }
  void resize(int width, int height) override { glfwSetWindowSize(window_.get(), width, height); }
  double content_scale() const override {
    float x = 1, y = 1;
    glfwGetWindowContentScale(window_.get(), &x, &y);
    return static_cast<double>(std::max(x, y));
  }

  bool close_requested() const override { return glfwWindowShouldClose(window_.get()) == GLFW_TRUE; }
  void cancel_close() override { glfwSetWindowShouldClose(window_.get(), GLFW_FALSE); }
  void set_title(const std::string& title) override { glfwSetWindowTitle(window_.get(), title.c_str()); }

  /// A window's own pixels are undefined once shown, and those behind other windows always: the frame is drawn again.
  Raster screenshot() override {
    const auto [width, height] = drawing_size();
    const OffscreenBuffer buffer(width, height);
    if (ImGui::GetDrawData() == nullptr) fail("a screenshot needs a finished frame; take it between two frames.");
    renderer_.draw(width, height, background_);
    Raster out = Renderer::pixels(width, height);
    glBindFramebuffer(GL_FRAMEBUFFER, 0);
    return out;
  }
  std::string renderer() const override { return Renderer::description(); }

 private:
  static Window& of(GLFWwindow* window) { return *static_cast<Window*>(glfwGetWindowUserPointer(window)); }

  /// Each event is noted, so that `wait` can tell a reason to draw from none.
  void note_events() {
    GLFWwindow* w = window_.get();
    glfwSetKeyCallback(w, [](GLFWwindow* window, int, int, int, int) { of(window).happened_ = true; });
    glfwSetCharCallback(w, [](GLFWwindow* window, unsigned int) { of(window).happened_ = true; });
    glfwSetMouseButtonCallback(w, [](GLFWwindow* window, int, int, int) { of(window).happened_ = true; });
    glfwSetCursorPosCallback(w, [](GLFWwindow* window, double, double) { of(window).happened_ = true; });
    glfwSetCursorEnterCallback(w, [](GLFWwindow* window, int) { of(window).happened_ = true; });
    glfwSetScrollCallback(w, [](GLFWwindow* window, double, double) { of(window).happened_ = true; });
    glfwSetWindowFocusCallback(w, [](GLFWwindow* window, int) { of(window).happened_ = true; });
    glfwSetWindowCloseCallback(w, [](GLFWwindow* window) { of(window).happened_ = true; });
    glfwSetWindowRefreshCallback(w, [](GLFWwindow* window) { of(window).happened_ = true; });
    glfwSetWindowIconifyCallback(w, [](GLFWwindow* window, int) { of(window).happened_ = true; });
    glfwSetFramebufferSizeCallback(w, [](GLFWwindow* window, int, int) { of(window).happened_ = true; });
    glfwSetWindowContentScaleCallback(w, [](GLFWwindow* window, float, float) { of(window).happened_ = true; });
    glfwSetDropCallback(w, [](GLFWwindow* window, int count, const char** paths) {
      Window& self = of(window);
      self.happened_ = true;
      if (self.on_drop) self.on_drop({paths, paths + count});
    });
  }

  std::pair<int, int> drawing_size() const {
    int width = 0, height = 0;
    glfwGetFramebufferSize(window_.get(), &width, &height);
    return {width, height};
  }

  GlfwWindow window_;
  Renderer renderer_;
  Rgb background_;
  bool had_input_ = false;
  bool happened_ = true;  ///< the first frame is due
  std::atomic<bool> woken_ = false;
};

}  // namespace

std::unique_ptr<Platform> open_window(const WindowOptions& options) { return std::make_unique<Window>(options); }

bool has_display() {
  // A second glfwInit would be undone by its glfwTerminate, and a window that is open with it.
  glfwGetError(nullptr);
  glfwGetTime();
  if (glfwGetError(nullptr) != GLFW_NOT_INITIALIZED) return true;
  if (glfwInit() != GLFW_TRUE) return false;
  glfwTerminate();
  return true;
}

}  // namespace headscope::gui
