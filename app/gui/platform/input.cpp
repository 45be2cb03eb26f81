#include "app/gui/platform/input.h"

#include <imgui.h>
#include <imgui_internal.h>

#include <algorithm>

namespace headscope::gui {
namespace {

bool is_modifier(ImGuiKey key) {
  return (key & ImGuiMod_Mask_) != 0 || (key >= ImGuiKey_LeftCtrl && key <= ImGuiKey_RightSuper);
}

/// The first release of a modifier after the press of another key, or the end.
ImGuiInputEvent* end_of_chord(ImVector<ImGuiInputEvent>& queue) {
  bool pressed = false;
  return std::find_if(queue.begin(), queue.end(), [&](const ImGuiInputEvent& event) {
    if (event.Type != ImGuiInputEventType_Key) return false;
    if (is_modifier(event.Key.Key)) return pressed && !event.Key.Down;
    pressed |= event.Key.Down;
    return false;
  });
}

}  // namespace

void new_imgui_frame() {
  ImVector<ImGuiInputEvent>& queue = ImGui::GetCurrentContext()->InputEventsQueue;
  const int kept = static_cast<int>(end_of_chord(queue) - queue.begin());
  ImVector<ImGuiInputEvent> later;
  for (int i = kept; i < queue.Size; ++i) later.push_back(queue[i]);
  queue.resize(kept);
  ImGui::NewFrame();
  for (const ImGuiInputEvent& event : later) queue.push_back(event);
}

bool has_queued_input() { return ImGui::GetCurrentContext()->InputEventsQueue.Size > 0; }

}  // namespace headscope::gui
