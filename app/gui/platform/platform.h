#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/views/write.h"

namespace headscope::gui {

/// Where frames come from and go to: a GLFW window or an off-screen EGL surface. Makes the OpenGL 3.3 core context
/// current on the calling thread and owns ImGui's platform and renderer back ends; an ImGui context must exist before
/// it and outlive it. UI thread only, but for `wake`. Creation throws Error with a sentence that says what is missing
/// (no display, no EGL, OpenGL older than 3.3).
class Platform {
 public:
  virtual ~Platform() = default;

  /// Waits at most `seconds` for an event or a `wake`; 0 only polls. Returns whether anything happened, which is so too
  /// while input waits in ImGui's queue: that hands out one press or release of a key a frame. Off-screen, input comes
  /// from the caller by ImGui::GetIO().Add...Event.
  virtual bool wait(double seconds) = 0;
  /// Whether the last `wait` saw what somebody did, and not only a `wake`.
  virtual bool had_input() const = 0;
  /// Ends a `wait`. Any thread.
  virtual void wake() = 0;

  /// Feeds input to ImGui and begins its frame; off-screen, `seconds` is the fixed time step.
  virtual void begin_frame(double seconds) = 0;
  /// Renders ImGui's draw data over `background` and shows it.
  virtual void end_frame(Rgb background) = 0;

  /// Device pixels of the drawing area. `resize` throws Error off-screen for a size that the driver has no room for.
  virtual int width() const = 0;
  virtual int height() const = 0;
  virtual void resize(int width, int height) = 0;
  /// Of the monitor: device pixels a px.
  virtual double content_scale() const = 0;

  virtual bool close_requested() const = 0;
  virtual void cancel_close() = 0;
  virtual void set_title(const std::string&) = 0;

  /// What was drawn by the last end_frame(); between two frames.
  virtual Raster screenshot() = 0;
  /// "llvmpipe (LLVM 15.0.6, 256 bits), OpenGL 4.5": for the log.
  virtual std::string renderer() const = 0;

  /// Called on the UI thread with paths dropped on the window.
  std::function<void(const std::vector<std::string>&)> on_drop;
};

inline constexpr int smallest_width = 320, smallest_height = 240;  ///< px, of a window

struct WindowOptions {
  std::string title = "HeadScope";
  int width = 1280, height = 800;  ///< px at content scale 1
};

std::unique_ptr<Platform> open_window(const WindowOptions&);

/// `scale` stands for the monitor's content scale; the surface is width x height device pixels.
std::unique_ptr<Platform> open_headless(int width, int height, double scale);

/// Whether a display is there to open a window on.
bool has_display();

}  // namespace headscope::gui
