#pragma once

#include <string_view>

#include <imgui.h>

namespace headscope::gui {

/// "Ctrl+Shift+O", "ctrl+k", "F", "Escape". Throws Error for a key that it does not know.
ImGuiKeyChord parse_chord(std::string_view text);

}  // namespace headscope::gui
