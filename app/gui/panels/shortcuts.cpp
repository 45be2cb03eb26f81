#include "app/gui/panels/shortcuts.h"

#include <array>
#include <utility>

#include "app/gui/panels/window.h"
#include "core/base/error.h"

namespace headscope::gui {
namespace {

constexpr std::pair<std::string_view, ImGuiKey> named_keys[] = {
    {"enter", ImGuiKey_Enter},   {"escape", ImGuiKey_Escape},  {"esc", ImGuiKey_Escape},
    {"tab", ImGuiKey_Tab},       {"left", ImGuiKey_LeftArrow}, {"right", ImGuiKey_RightArrow},
    {"up", ImGuiKey_UpArrow},    {"down", ImGuiKey_DownArrow}, {"backspace", ImGuiKey_Backspace},
    {"delete", ImGuiKey_Delete}, {"home", ImGuiKey_Home},      {"end", ImGuiKey_End},
    {"space", ImGuiKey_Space},   {"pageup", ImGuiKey_PageUp},  {"pagedown", ImGuiKey_PageDown},
    {"=", ImGuiKey_Equal},       {"-", ImGuiKey_Minus},        {".", ImGuiKey_Period},
    {",", ImGuiKey_Comma}};

ImGuiKey key_of(const std::string& name) {
  if (name.size() == 1 && name[0] >= 'a' && name[0] <= 'z') return static_cast<ImGuiKey>(ImGuiKey_A + (name[0] - 'a'));
  if (name.size() == 1 && name[0] >= '0' && name[0] <= '9') return static_cast<ImGuiKey>(ImGuiKey_0 + (name[0] - '0'));
  for (const auto& [known, key] : named_keys) {
    if (known == name) return key;
  }
  fail("There is no key {}.", quoted(name));
}

}  // namespace

ImGuiKeyChord parse_chord(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  ImGuiKeyChord chord = 0;
  constexpr std::pair<std::string_view, ImGuiKeyChord> modifiers[] = {
      {"ctrl+", ImGuiMod_Ctrl}, {"shift+", ImGuiMod_Shift}, {"alt+", ImGuiMod_Alt}};
  for (bool found = true; found;) {
    found = false;
    for (const auto& [name, modifier] : modifiers) {
      if (!lower.starts_with(name)) continue;
      chord |= modifier;
      lower.erase(0, name.size());
      found = true;
    }
  }
  return chord | key_of(lower);
}

namespace {

struct Shortcut {
  const Command* command;
  ImGuiKeyChord chord;
};

std::vector<Shortcut> shortcuts() {
  std::vector<Shortcut> found;
  for (const Command& command : commands()) {
    if (!command.shortcut.empty()) found.push_back({&command, parse_chord(command.shortcut)});
  }
  return found;
}

}  // namespace

void Window::take_shortcuts() {
  static const std::vector<Shortcut> all = shortcuts();
  for (const auto& [entry, chord] : all) {
    const Command& command = *entry;
    const bool plain = (chord & (ImGuiMod_Ctrl | ImGuiMod_Alt)) == 0 && command.id != "escape";
    const bool dialog = palette_.open || browser_.open || export_.open;
    if (plain && (typing_ || dialog)) continue;
    // A text field copies its own selection.
    if (typing_ && command.id == "copy") continue;
    if (!ImGui::IsKeyChordPressed(chord)) continue;
    if (command.id == "escape" || command.disabled(app_).empty()) sent_.push_back(std::string(command.id));
  }
}

}  // namespace headscope::gui
