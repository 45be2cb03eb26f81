#pragma once

namespace headscope::gui {

/// ImGui::NewFrame(), but a modifier stays down in the frame in which a key was pressed with it. ImGui takes key by key
/// from its queue, and where frames are slow and Ctrl is let go before O, it would see O without Ctrl.
void new_imgui_frame();

/// Whether input waits in ImGui's queue: it hands out one press or release of a key a frame.
bool has_queued_input();

}  // namespace headscope::gui
