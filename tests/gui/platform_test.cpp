#include <gmock/gmock.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "tests/gui/stage.h"

namespace headscope::gui {
namespace {

using testing::HasSubstr;

TEST(Headless, ShowsItsBackgroundAtAnySize) {
  Stage stage(64, 48, 1.5);
  SKIP_WITHOUT_EGL(stage);
  EXPECT_EQ(stage.platform->content_scale(), 1.5);
  for (const auto& [width, height] : {std::pair{64, 48}, {1, 1}, {2000, 30}}) {
    stage.platform->resize(width, height);
    const Raster seen = stage.frame([](ImDrawList&) {}, {10, 200, 30});
    EXPECT_EQ(seen.width, width);
    EXPECT_EQ(seen.height, height);
    EXPECT_EQ(seen.at(0, 0), (Rgb{10, 200, 30}));
    EXPECT_EQ(seen.at(width - 1, height - 1), (Rgb{10, 200, 30}));
  }
  EXPECT_THROW(stage.platform->resize(0, 10), Error);
  EXPECT_THROW(stage.platform->resize(1 << 20, 10), Error);
  EXPECT_EQ(stage.platform->width(), 2000);
  EXPECT_EQ(stage.frame([](ImDrawList&) {}, {1, 2, 3}).at(1999, 29), (Rgb{1, 2, 3}));
  EXPECT_THAT(stage.platform->renderer(), HasSubstr("OpenGL "));
  EXPECT_FALSE(stage.platform->close_requested());
}

TEST(Headless, PicturesAreUpright) {
  Stage stage(40, 40);
  SKIP_WITHOUT_EGL(stage);
  const Raster seen = stage.frame([](ImDrawList& list) {
    list.AddRectFilled({0, 0}, {10, 5}, IM_COL32(255, 0, 0, 255));
  });
  EXPECT_EQ(seen.at(9, 4), (Rgb{255, 0, 0}));
  EXPECT_EQ(seen.at(10, 4), (Rgb{0, 0, 0}));
  EXPECT_EQ(seen.at(9, 5), (Rgb{0, 0, 0}));
}

TEST(Headless, WaitsForAWakeOrInput) {
  Stage stage(32, 32);
  SKIP_WITHOUT_EGL(stage);
  EXPECT_FALSE(stage.platform->wait(0));
  EXPECT_FALSE(stage.platform->wait(0.02));
  const auto start = std::chrono::steady_clock::now();
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    stage.platform->wake();
  });
  EXPECT_TRUE(stage.platform->wait(20));
  other.join();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  EXPECT_FALSE(stage.platform->wait(0)) << "one wake ends one wait";
  ImGui::GetIO().AddKeyEvent(ImGuiKey_A, true);
  EXPECT_TRUE(stage.platform->wait(20));
  stage.frame([](ImDrawList&) {});
  EXPECT_FALSE(stage.platform->wait(0));
}

TEST(Headless, ChordsSurviveInASlowFrame) {
  Stage stage(32, 32);
  SKIP_WITHOUT_EGL(stage);
  ImGuiIO& io = ImGui::GetIO();
  for (const bool down : {true, false}) io.AddKeyEvent(ImGuiKey_O, down);  // a tap before, so that frames end elsewhere
  for (int i = 0; i < 20; ++i) {
    for (const bool down : {true, false}) {
      io.AddKeyEvent(ImGuiMod_Ctrl, down);
      io.AddKeyEvent(ImGuiKey_LeftCtrl, down);
      io.AddKeyEvent(ImGuiKey_O, down);
    }
  }
  int chords = 0;
  while (stage.platform->wait(0)) {
    stage.frame([&](ImDrawList&) { chords += ImGui::IsKeyChordPressed(ImGuiMod_Ctrl | ImGuiKey_O); });
  }
  EXPECT_EQ(chords, 20);
}

TEST(Headless, HasAClipboardOfItsOwn) {
  Stage stage(32, 32);
  SKIP_WITHOUT_EGL(stage);
  ImGui::SetClipboardText("caf\u00E9 \U0001F600");
  EXPECT_STREQ(ImGui::GetClipboardText(), "caf\u00E9 \U0001F600");
}

TEST(Headless, WithoutADriverSaysWhatToInstall) {
  const auto open = [] {
    setenv("__EGL_VENDOR_LIBRARY_DIRS", "/nowhere", 1);
    setenv("__EGL_VENDOR_LIBRARY_FILENAMES", "/nowhere/none.json", 1);
    ImGui::CreateContext();
    try {
      open_headless(32, 32, 1);
    } catch (const Error& error) {
      std::fputs(error.what(), stderr);
    }
    std::_Exit(0);
  };
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(open(), testing::ExitedWithCode(0), "install libegl1");
}

TEST(Misuse, IsCountedAndReportedButEndsNothing) {
  Stage stage(32, 32);
  SKIP_WITHOUT_EGL(stage);
  std::string reported;
  on_imgui_misuse([&](const std::string& what) { reported = what; });
  stage.frame([](ImDrawList&) { ImGui::PopStyleVar(); });
  on_imgui_misuse({});
  EXPECT_GE(imgui_misuse().count, 1u);
  EXPECT_THAT(imgui_misuse().first, HasSubstr("imgui.cpp:"));
  EXPECT_THAT(reported, HasSubstr("imgui.cpp:"));
  clear_imgui_misuse();
  EXPECT_EQ(imgui_misuse().count, 0u);
  stage.frame([](ImDrawList&) {});
}

TEST(Style, HasTheMeasuresOfTheWindow) {
  Stage stage(200, 200);
  SKIP_WITHOUT_EGL(stage);
  stage.frame([](ImDrawList&) {
    EXPECT_EQ(ImGui::GetFrameHeight(), 32);
    EXPECT_EQ(ImGui::GetTextLineHeight() + 2 * ImGui::GetStyle().CellPadding.y, 26);
  });
  const ImGuiStyle& style = ImGui::GetStyle();
  EXPECT_EQ(style.DockingSeparatorSize, 12);
  EXPECT_EQ(style.WindowRounding, 5);
  apply_style(Theme::light, 2, ColourRole::model_b);
  EXPECT_EQ(style.DockingSeparatorSize, 24);
  EXPECT_EQ(style.Colors[ImGuiCol_PopupBg].w, 1);
  const auto is = [&](ImGuiCol index, ColourRole role) {
    const ImVec4 a = style.Colors[index], b = to_vec4({role}, Theme::light);
    return a.x == b.x && a.y == b.y && a.z == b.z;
  };
  EXPECT_TRUE(is(ImGuiCol_CheckMark, ColourRole::model_b));
  EXPECT_TRUE(is(ImGuiCol_Separator, ColourRole::window));
  EXPECT_TRUE(is(ImGuiCol_WindowBg, ColourRole::panel));
}

}  // namespace
}  // namespace headscope::gui
