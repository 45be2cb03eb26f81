#include "app/gui/panels/panels.h"

namespace headscope::gui {
namespace {

/// Returns whether the message was dismissed.
bool draw_plate(Ui& ui, const Plate& plate, size_t index, double width) {
  const ColourRole role = plate.error ? ColourRole::error : ColourRole::warning;
  ImGui::PushStyleColor(ImGuiCol_ChildBg, ui.colour(ColourRole::window));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(ui.px(14), ui.px(10)));
  ImGui::BeginChild(fmt::format("##plate{}", index).c_str(), ImVec2(ui.px(width), 0),
                    ImGuiChildFlags_AutoResizeY | ImGuiChildFlags_AlwaysUseWindowPadding);
  const ImVec2 at = ImGui::GetWindowPos();
  {
    const auto font = ui.font(TextRole::label);
    ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(role));
    ImGui::TextUnformatted(plate.title.c_str());
    ImGui::PopStyleColor();
  }
  ImGui::PushTextWrapPos(ui.px(width - 14));
  ImGui::TextUnformatted(plate.sentence.c_str());
  ImGui::PopTextWrapPos();
  if (!plate.action.empty()) {
    if (ImGui::Button(plate.action_title.c_str())) ui.send(plate.action);
    ui.regions.add_last_item("plate/action");
    ImGui::SameLine();
  }
  if (ImGui::Button("Copy details")) ImGui::SetClipboardText((plate.title + ": " + plate.sentence).c_str());
  ui.regions.add_last_item("plate/copy");
  explain(ui, "Copies the message as text.");
  ImGui::SameLine();
  const bool dismissed = ImGui::Button("Dismiss");
  ui.regions.add_last_item("plate/dismiss");
  const float height = ImGui::GetWindowHeight();
  ImGui::GetWindowDrawList()->AddRectFilled(at, ImVec2(at.x + ui.px(3), at.y + height), ui.colour(role));
  ImGui::EndChild();
  ImGui::PopStyleVar();
  ImGui::PopStyleColor();
  ImGui::Dummy(ImVec2(0, ui.px(4)));
  return dismissed;
}

}  // namespace

void draw_plates(Ui& ui, double width) {
  const auto& plates = ui.app.data().plates;
  for (size_t index = 0; index < plates.size(); ++index) {
    if (draw_plate(ui, plates[index], index, width)) ui.send(fmt::format("dismiss {}", index));
  }
}

}  // namespace headscope::gui
