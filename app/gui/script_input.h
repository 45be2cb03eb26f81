#pragma once

#include <deque>
#include <functional>
#include <string>
#include <string_view>

#include <imgui.h>

#include "app/gui/app/commands.h"

namespace headscope::gui {

/// A script's hands: its lines about mouse and keyboard (`click`, `drag`, `key`, `type`...) become inputs that ImGui is
/// fed one a frame, as a user's come.
class ScriptInput {
 public:
  /// Where on the screen the thing with this id is. Throws Error when it is not shown.
  using PlaceOf = std::function<ImVec2(const std::string& id)>;

  bool empty() const { return inputs_.empty(); }
  /// Queues what a line asks for; false when it is no input. Throws Error.
  bool perform(const CommandCall&, const PlaceOf&);
  /// Feeds the next input to ImGui; false when none is queued. Must be called before a frame.
  bool feed_next();

 private:
  enum class Kind { move, press, release, wheel, key_down, key_up, text };
  struct Input {
    Kind kind;
    ImVec2 at{};
    float amount = 0;  ///< notches of the wheel
    ImGuiKeyChord chord = 0;
    std::string text;

    void feed() const;
  };

  void push_mouse(Kind kind, ImVec2 at, float amount = 0) { inputs_.push_back({kind, at, amount, 0, {}}); }
  void push_keys(Kind kind, ImGuiKeyChord chord) { inputs_.push_back({kind, {}, 0, chord, {}}); }
  void press_and_release(std::string_view chord);
  void perform_text(const CommandCall&);
  bool perform_mouse(const CommandCall&, const PlaceOf&);
  void drag(ImVec2 from, float dx, float dy);

  std::deque<Input> inputs_;
};

}  // namespace headscope::gui
