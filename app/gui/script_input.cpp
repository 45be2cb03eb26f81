#include "app/gui/script_input.h"

#include <algorithm>

#include "app/gui/panels/shortcuts.h"

namespace headscope::gui {
namespace {

constexpr int drag_steps = 8;  ///< frames from the press to the release

void feed_keys(ImGuiKeyChord chord, bool down) {
  ImGuiIO& io = ImGui::GetIO();
  for (const ImGuiKey modifier : {ImGuiMod_Ctrl, ImGuiMod_Shift, ImGuiMod_Alt}) {
    if (chord & modifier) io.AddKeyEvent(modifier, down);
  }
  const auto plain = static_cast<ImGuiKey>(chord & ~ImGuiMod_Mask_);
  if (plain != ImGuiKey_None) io.AddKeyEvent(plain, down);
}

}  // namespace

bool ScriptInput::perform(const CommandCall& call, const PlaceOf& place_of) {
  if (call.id == "key") {
    press_and_release(call.rest);
  } else if (call.id == "type" || call.id == "paste") {
    perform_text(call);
  } else {
    return perform_mouse(call, place_of);
  }
  return true;
}

void ScriptInput::press_and_release(std::string_view chord) {
  push_keys(Kind::key_down, parse_chord(chord));
  push_keys(Kind::key_up, parse_chord(chord));
}

void ScriptInput::perform_text(const CommandCall& call) {
  const std::string text = call.words.size() == 1 && call.rest.front() == '"' ? call.words[0] : call.rest;
  if (call.id == "paste") {
    ImGui::SetClipboardText(text.c_str());
    press_and_release("ctrl+v");
  } else {
    inputs_.push_back({Kind::text, {}, 0, 0, text});
  }
  push_mouse(Kind::move, ImGui::GetMousePos());  // a frame more, in which the text arrives
}

bool ScriptInput::perform_mouse(const CommandCall& call, const PlaceOf& place_of) {
  constexpr std::string_view mouse[] = {"click", "double_click", "hover", "move", "drag", "shift_drag", "wheel"};
  if (std::find(std::begin(mouse), std::end(mouse), call.id) == std::end(mouse)) return false;
  const ImVec2 at = place_of(call.needed_word(0, "the id of what is shown"));
  push_mouse(Kind::move, at);
  if (call.id == "move") return true;
  push_mouse(Kind::move, at);  // what is under the cursor knows of it before a button goes down
  if (call.id == "wheel") {
    push_mouse(Kind::wheel, at, static_cast<float>(call.needed_number(1)));
  } else if (call.id == "click" || call.id == "double_click") {
    for (int i = 0; i < (call.id == "click" ? 1 : 2); ++i) push_mouse(Kind::press, at), push_mouse(Kind::release, at);
  } else if (call.id == "drag" || call.id == "shift_drag") {
    const auto dx = static_cast<float>(call.needed_number(1)), dy = static_cast<float>(call.needed_number(2));
    const bool shift = call.id == "shift_drag";
    if (shift) push_keys(Kind::key_down, ImGuiMod_Shift);
    drag(at, dx, dy);
    if (shift) push_keys(Kind::key_up, ImGuiMod_Shift);
  }
  return true;
}

void ScriptInput::drag(ImVec2 from, float dx, float dy) {
  push_mouse(Kind::press, from);
  for (int i = 1; i <= drag_steps; ++i) {
    const float share = static_cast<float>(i) / drag_steps;
    push_mouse(Kind::move, ImVec2(from.x + dx * share, from.y + dy * share));
  }
  push_mouse(Kind::release, from);
}

bool ScriptInput::feed_next() {
  if (inputs_.empty()) return false;
  inputs_.front().feed();
  inputs_.pop_front();
  return true;
}

void ScriptInput::Input::feed() const {
  ImGuiIO& io = ImGui::GetIO();
  switch (kind) {
    case Kind::move:
      io.AddMousePosEvent(at.x, at.y);
      break;
    case Kind::press:
      io.AddMouseButtonEvent(0, true);
      break;
    case Kind::release:
      io.AddMouseButtonEvent(0, false);
      break;
    case Kind::wheel:
      io.AddMouseWheelEvent(0, amount);
      break;
    case Kind::key_down:
      feed_keys(chord, true);
      break;
    case Kind::key_up:
      feed_keys(chord, false);
      break;
    case Kind::text:
      io.AddInputCharactersUTF8(text.c_str());
      break;
  }
}

}  // namespace headscope::gui
