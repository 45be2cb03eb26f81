#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace headscope::gui {

/// What ImGui's assertions found since the start or the last `clear`: mistakes of ours, that never end the program.
struct ImguiMisuse {
  size_t count = 0;
  std::string first;  ///< "imgui.cpp:123: g.WithinFrameScope"; empty when there was none
};

/// Any thread.
ImguiMisuse imgui_misuse();
void clear_imgui_misuse();

/// Called with every failed assertion, on the thread that failed; an empty one ends that. Any thread.
void on_imgui_misuse(std::function<void(const std::string& what)> handler);

}  // namespace headscope::gui
