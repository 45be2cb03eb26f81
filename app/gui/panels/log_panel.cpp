#include "app/gui/panels/panels.h"

namespace headscope::gui {

void draw_log_panel(Ui& ui, const std::string& facts) {
  const auto font = ui.font(TextRole::number);
  ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(ColourRole::dim));
  ImGui::TextWrapped("%s", facts.c_str());
  ImGui::PopStyleColor();
  if (ImGui::SmallButton("Copy all")) {
    std::string all = facts + '\n';
    for (const Log::Line& line : ui.app.log.lines()) all += line.time + "  " + line.text + '\n';
    ImGui::SetClipboardText(all.c_str());
  }
  ui.regions.add_last_item("log/copy");
  explain(ui, "Copies the facts and all messages, for a report.");
  ImGui::Separator();
  ImGui::BeginChild("##lines", ImVec2(0, 0), ImGuiChildFlags_None, ImGuiWindowFlags_HorizontalScrollbar);
  for (const Log::Line& line : ui.app.log.lines()) {
    const ColourRole role = line.level == Log::Level::error     ? ColourRole::error
                            : line.level == Log::Level::warning ? ColourRole::warning
                                                                : ColourRole::text;
    ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(role));
    ImGui::TextUnformatted((line.time + "  " + line.text).c_str());
    ImGui::PopStyleColor();
  }
  if (ImGui::GetScrollY() >= ImGui::GetScrollMaxY()) ImGui::SetScrollHereY(1);
  ImGui::EndChild();
}

}  // namespace headscope::gui
