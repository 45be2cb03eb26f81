#pragma once

#include <epoxy/gl.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "app/gui/paint/fonts.h"
#include "app/gui/paint/imgui_misuse.h"
#include "app/gui/paint/painter.h"
#include "app/gui/platform/platform.h"
#include "core/base/error.h"
#include "tests/gui/driver_leaks.h"

namespace headscope::gui {

/// An ImGui context, an off-screen platform, fonts and a painter for one test. Where EGL is missing, `missing` says why
/// and nothing else is there.
class Stage {
 public:
  Stage(int width, int height, double scale = 1) : scale_(scale) {
    clear_imgui_misuse();
    context_ = ImGui::CreateContext();
    ImGui::GetIO().IniFilename = nullptr;
    try {
      const DriverLeaks allowed;
      platform = open_headless(width, height, scale);
    } catch (const Error& error) {
      missing = error.what();
      return;
    }
    fonts.emplace();
    apply_style(Theme::dark, scale, ColourRole::model_a);
    painter.emplace(*fonts);
    const DriverLeaks allowed;
    frame([](ImDrawList& list) { list.AddRectFilled({0, 0}, {9, 9}, IM_COL32_WHITE); });
  }
  ~Stage() {
    painter.reset();
    platform.reset();
    ImGui::DestroyContext(context_);
    EXPECT_EQ(imgui_misuse().count, 0u) << imgui_misuse().first;
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  /// One frame of a window without decoration that fills the screen, on `background`.
  Raster frame(const std::function<void(ImDrawList&)>& draw, Rgb background = {}) {
    platform->begin_frame(1.0 / 60);
    ImGui::SetNextWindowPos({0, 0});
    ImGui::SetNextWindowSize({static_cast<float>(platform->width()), static_cast<float>(platform->height())});
    ImGui::PushStyleVar(ImGuiStyleVar_WindowRounding, 0);
    ImGui::Begin("stage", nullptr, ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoBackground);
    ImDrawList& list = *ImGui::GetWindowDrawList();
    list.PushClipRectFullScreen();
    draw(list);
    list.PopClipRect();
    ImGui::End();
    ImGui::PopStyleVar();
    platform->end_frame(background);
    Raster seen = platform->screenshot();
    EXPECT_EQ(glGetError(), static_cast<GLenum>(GL_NO_ERROR));
    return seen;
  }

  /// `figure` at the corner of the screen.
  Raster painted(const Figure& figure, Theme theme, const std::string& place = "stage", uint64_t version = 1) {
    return frame([&](ImDrawList& list) { painter->paint(figure, place, version, list, {0, 0}, scale_, theme); });
  }

  std::string missing;
  std::unique_ptr<Platform> platform;
  std::optional<Fonts> fonts;
  std::optional<FigurePainter> painter;

 private:
  ImGuiContext* context_;
  double scale_;
};

}  // namespace headscope::gui

/// Ends a test as skipped where there is no EGL.
#define SKIP_WITHOUT_EGL(stage) \
  if (!(stage).missing.empty()) GTEST_SKIP() << (stage).missing
