#include "app/gui/panels/panels.h"

namespace headscope::gui {

void draw_about(Ui& ui, const ProgramFacts& facts, bool& open) {
  if (!open) return;
  const ImVec2 screen = ImGui::GetMainViewport()->Size;
  ImGui::SetNextWindowPos(ImVec2(screen.x / 2, screen.y / 3), ImGuiCond_Always, ImVec2(0.5f, 0.5f));
  ImGui::Begin("About HeadScope", &open,
               ImGuiWindowFlags_NoCollapse | ImGuiWindowFlags_AlwaysAutoResize | ImGuiWindowFlags_NoDocking |
                   ImGuiWindowFlags_NoSavedSettings);
  ImGui::Text("HeadScope %s", facts.version.c_str());
  ImGui::Text("%s, kernel %s", facts.device.c_str(), facts.kernel.c_str());
  ImGui::TextUnformatted(facts.renderer.c_str());
  ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(ColourRole::dim));
  ImGui::TextUnformatted(
      "It keeps queries, keys and one log-sum-exp a row, and recomputes any part\n"
      "of any attention map when it is looked at.");
  ImGui::PopStyleColor();
  ImGui::End();
}

}  // namespace headscope::gui
