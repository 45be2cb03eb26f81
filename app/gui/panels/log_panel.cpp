#include "app/gui/panels/panels.h"

namespace headscope::gui {

namespace {

void draw_lines(Ui& ui, const ProgramFacts& program) {
  const auto font = ui.font(TextRole::number);
  const std::string facts =
      fmt::format("HeadScope {}; {}; {}, kernel {}", program.version, program.renderer, program.device, program.kernel);
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
  ImGui::BeginChild("##lines", ImVec2(0, 0));
  for (const Log::Line& line : ui.app.log.lines()) {
    const ColourRole role = line.level == Log::Level::error     ? ColourRole::error
                            : line.level == Log::Level::warning ? ColourRole::warning
                                                                : ColourRole::text;
    ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(role));
    ImGui::TextWrapped("%s", (line.time + "  " + line.text).c_str());
    ImGui::PopStyleColor();
  }
  if (ImGui::GetScrollY() >= ImGui::GetScrollMaxY()) ImGui::SetScrollHereY(1);
  ImGui::EndChild();
}

}  // namespace

void draw_log_window(Ui& ui, const ProgramFacts& facts, bool& open) {
  if (!open) return;
  const ImVec2 screen = ImGui::GetMainViewport()->Size;
  ImGui::SetNextWindowSize(ImVec2(ui.px(680), ui.px(280)), ImGuiCond_FirstUseEver);
  ImGui::SetNextWindowPos(ImVec2(screen.x - ui.px(700), screen.y - ui.px(300)), ImGuiCond_FirstUseEver);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowBorderSize, std::max(1.0f, ui.px(1)));
  ImGui::Begin("Log", &open, ImGuiWindowFlags_NoDocking | ImGuiWindowFlags_NoSavedSettings);
  ImGui::PopStyleVar();
  draw_lines(ui, facts);
  ImGui::End();
}

}  // namespace headscope::gui
