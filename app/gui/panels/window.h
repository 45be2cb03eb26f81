#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "app/gui/panels/panels.h"
#include "app/gui/platform/platform.h"

namespace headscope::gui {

/// Everything that is seen: draws one frame of panels around the app, takes shortcuts, runs what panels send. Needs an
/// ImGui context and the platform's OpenGL context for as long as it lives. UI thread only.
class Window final : public Shell {
 public:
  Window(App&, Platform&);
  ~Window() override;

  /// Builds one frame between Platform::begin_frame and end_frame, and runs the commands that it led to.
  void frame();
  /// Runs one command line now; a failure becomes a plate.
  void run(const std::string& line);
  /// The colour behind everything.
  Rgb background() const;
  /// Middle of the region with this id in the last frame, or of "map/cell/QUERY/KEY".
  std::optional<ImVec2> find(std::string_view id) const;
  /// Seconds until something wants to be drawn again although nothing happens: a caret, a delayed tooltip, progress;
  /// infinity when nothing does.
  double next_wake() const;
  /// State of the dialogs, for scripts.
  Json summary() const;

  void show_palette() override;
  void show_browser(ModelSlot) override;
  void edit_prompt() override;
  void reset_layout() override;
  void toggle_head() override;
  void toggle_device() override { device_.open = !device_.open; }
  bool step_back() override;
  void copy(const std::string& text) override;
  std::string under_cursor() const override { return under_cursor_; }
  std::pair<int64_t, int64_t> view_size() const override;
  void export_view(const std::string& path) override;
  void ask_export() override;
  void show_about() override { about_ = true; }

 private:
  double scale() const;
  bool is_wide() const;
  Ui make_ui();
  void draw_panels(Ui&);
  void take_shortcuts();
  void follow_slot();

  App& app_;
  Platform& platform_;
  TextMeasurer text_;
  Fonts fonts_;
  FigurePainter painter_;
  Regions regions_;
  FigureCache figures_;
  std::vector<std::string> sent_;
  std::string under_cursor_;
  PromptPanel prompt_;
  CentrePanel centre_;
  Palette palette_;
  Browser browser_;
  ExportField export_;
  std::string exported_;  ///< the newest file
  ProgramFacts facts_;
  bool about_ = false;
  DevicePanel device_;
  bool overlay_ = false;  ///< the head's panel over the middle, in narrow windows
  bool relayout_ = false;
  bool typing_ = false;
  std::pair<ModelSlot, uint64_t> shown_model_{ModelSlot::a, 0};  ///< with its number
  std::optional<std::pair<Theme, double>> styled_;
  ColourRole styled_accent_ = ColourRole::model_a;
};

}  // namespace headscope::gui
