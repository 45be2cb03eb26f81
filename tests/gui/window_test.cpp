#include <gmock/gmock.h>
#include <imgui.h>
#include <imgui_stdlib.h>

#include <chrono>
#include <thread>

#include "tests/gui/stage.h"
#include "tests/gui/x_server.h"

namespace headscope::gui {
namespace {

using testing::HasSubstr;

/// A window on a virtual X server; each frame is as slow as asked for.
class WindowTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!server_.missing.empty()) GTEST_SKIP() << server_.missing;
    if (!has_program("xdotool") || !has_program("xclip")) GTEST_SKIP() << "xdotool or xclip is not installed";
    clear_imgui_misuse();
    context_ = ImGui::CreateContext();
    ImGui::GetIO().IniFilename = nullptr;
    {
      const DriverLeaks allowed;
      platform_ = open_window({"window test", 640, 400});
    }
    fonts_.emplace();
    apply_style(Theme::dark, 1, ColourRole::model_a);
    const DriverLeaks allowed;
    for (int i = 0; i < 5; ++i) frame();
  }
  void TearDown() override {
    platform_.reset();
    if (context_ != nullptr) ImGui::DestroyContext(context_);
    EXPECT_EQ(imgui_misuse().count, 0u) << imgui_misuse().first;
  }

  void frame() {
    platform_->begin_frame(0);
    ImGui::SetNextWindowPos({0, 0});
    ImGui::SetNextWindowSize({600, 300});
    ImGui::Begin("input", nullptr, ImGuiWindowFlags_NoDecoration);
    if (focus_) ImGui::SetKeyboardFocusHere();
    focus_ = false;
    ImGui::InputText("##text", &text_);
    if (ImGui::IsKeyChordPressed(ImGuiMod_Ctrl | ImGuiKey_O)) ++shortcuts_;
    if (ImGui::Button("press", {200, 100})) ++presses_;
    ImGui::End();
    platform_->end_frame({20, 22, 26});
  }

  /// Frames, as an application draws them, while `command` runs and until nothing has happened for a while.
  void run(const std::string& command, double seconds_a_frame) {
    Background background(command);
    int quiet = 0;
    while (background.is_running() || quiet < 3) {
      quiet = platform_->wait(0.1) ? 0 : quiet + 1;
      frame();
      std::this_thread::sleep_for(std::chrono::duration<double>(seconds_a_frame));
    }
    EXPECT_TRUE(background.succeeded()) << command;
  }

  static std::string taps(const std::string& key, int count) {
    std::string line = "xdotool key";
    for (int i = 0; i < count; ++i) line += " " + key;
    return line;
  }

  XServer server_{1280, 800};
  ImGuiContext* context_ = nullptr;
  std::unique_ptr<Platform> platform_;
  std::optional<Fonts> fonts_;
  std::string text_;
  bool focus_ = true;
  int shortcuts_ = 0, presses_ = 0;
};

// A tap of xdotool lasts 6 ms, a frame here 80.
TEST_F(WindowTest, FastTapsSurviveSlowFrames) {
  run(taps("a", 20), 0.08);
  EXPECT_EQ(text_, std::string(20, 'a'));
  run(taps("BackSpace", 5), 0.08);
  EXPECT_EQ(text_, std::string(15, 'a'));
  run(taps("ctrl+o", 20), 0.08);
  EXPECT_EQ(shortcuts_, 20);
}

TEST_F(WindowTest, ClicksAndMovesArrive) {
  for (int i = 0; i < 5; ++i) {
    run("xdotool search --onlyvisible --name 'window test' mousemove --window %1 100 120 click 1 mousemove --window %1 "
        "500 20",
        0.05);
  }
  EXPECT_EQ(presses_, 5);
}

TEST_F(WindowTest, WaitTellsEventsFromNone) {
  while (platform_->wait(0.2)) frame();
  EXPECT_FALSE(platform_->wait(0));
  EXPECT_FALSE(platform_->wait(0.05));
  {
    Background move("sleep 0.2; xdotool mousemove 300 300");
    EXPECT_TRUE(platform_->wait(10));
  }
  while (platform_->wait(0.2)) frame();
}

TEST_F(WindowTest, WakeEndsAWaitFromAnyThread) {
  while (platform_->wait(0.2)) frame();
  const auto start = std::chrono::steady_clock::now();
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    platform_->wake();
  });
  EXPECT_TRUE(platform_->wait(20));
  other.join();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  platform_->wake();
  EXPECT_TRUE(platform_->wait(20));
  EXPECT_FALSE(platform_->wait(0));
}

TEST_F(WindowTest, ResizesAndTakesScreenshots) {
  platform_->resize(720, 300);
  for (int i = 0; i < 20 && platform_->width() != 720; ++i) {
    platform_->wait(0.1);
    frame();
  }
  frame();
  EXPECT_EQ(platform_->width(), 720);
  EXPECT_EQ(platform_->height(), 300);
  const Raster seen = platform_->screenshot();
  EXPECT_EQ(seen.width, 720);
  EXPECT_EQ(seen.height, 300);
  EXPECT_EQ(seen.at(710, 290), (Rgb{20, 22, 26}));
  EXPECT_EQ(seen.at(590, 290), colour(ColourRole::panel, Theme::dark));
  EXPECT_EQ(platform_->content_scale(), 1);
  EXPECT_THAT(platform_->renderer(), HasSubstr("OpenGL "));
  EXPECT_TRUE(has_display());
}

TEST_F(WindowTest, TheClipboardIsTheSystems) {
  run("printf 'h\\303\\251llo' | xclip -selection clipboard -loops 1 >/dev/null 2>&1 &", 0.01);
  EXPECT_STREQ(ImGui::GetClipboardText(), "h\u00E9llo");
}

TEST(NoDisplay, IsAnErrorThatSaysWhatToDo) {
  unsetenv("DISPLAY");
  EXPECT_FALSE(has_display());
  ImGuiContext* context = ImGui::CreateContext();
  try {
    open_window({});
    ADD_FAILURE() << "a window without a display";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("DISPLAY"), HasSubstr("--headless")));
  }
  ImGui::DestroyContext(context);
}

}  // namespace
}  // namespace headscope::gui
