#include <misc/cpp/imgui_stdlib.h>

#include "app/gui/panels/panels.h"
#include "core/views/write.h"

namespace headscope::gui {

void draw_export_field(Ui& ui, ExportField& field) {
  if (!field.open) return;
  const ImVec2 screen = ImGui::GetMainViewport()->Size;
  const float width = std::min(ui.px(520), screen.x - ui.px(32));
  ImGui::SetNextWindowPos(ImVec2((screen.x - width) / 2, ui.px(96)));
  ImGui::SetNextWindowSize(ImVec2(width, 0));
  if (field.opened_now) ImGui::SetNextWindowFocus();
  ImGui::PushStyleColor(ImGuiCol_WindowBg, ui.colour(ColourRole::panel));
  ImGui::Begin("##export", nullptr,
               ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove | ImGuiWindowFlags_NoSavedSettings |
                   ImGuiWindowFlags_NoDocking | ImGuiWindowFlags_AlwaysAutoResize);
  {
    const auto font = ui.font(TextRole::label);
    ImGui::TextUnformatted("Export this view");
  }
  ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(ColourRole::dim));
  ImGui::TextUnformatted("The ending decides: .svg and .png are pictures, .csv is the numbers.");
  ImGui::PopStyleColor();
  if (field.opened_now) ImGui::SetKeyboardFocusHere();
  ImGui::SetNextItemWidth(-FLT_MIN);
  bool go = ImGui::InputText("##path", &field.path, ImGuiInputTextFlags_EnterReturnsTrue);
  if (ImGui::IsItemEdited()) field.confirm = false, field.problem.clear();
  ui.regions.add_last_item("export/path");
  if (!field.problem.empty()) {
    ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(field.confirm ? ColourRole::warning : ColourRole::error));
    ImGui::TextWrapped("%s", field.problem.c_str());
    ImGui::PopStyleColor();
  }
  go |= ImGui::Button(field.confirm ? "Overwrite" : "Export", ImVec2(ui.px(120), ui.px(32)));
  ui.regions.add_last_item("export/go");
  ImGui::SameLine();
  bool close = ImGui::Button("Cancel", ImVec2(ui.px(120), ui.px(32)));
  const bool away = !field.opened_now && !ImGui::IsWindowFocused(ImGuiFocusedFlags_RootAndChildWindows);
  ImGui::End();
  ImGui::PopStyleColor();
  field.opened_now = false;
  if (go) {
    std::error_code ignored;
    try {
      check_figure_path(field.path);
      if (std::filesystem::exists(field.path, ignored) && !field.confirm) {
        field.confirm = true;
        field.problem = "This file is there already. Overwrite it?";
      } else {
        ui.send("export " + quoted_word(field.path));
        close = true;
      }
    } catch (const Error& error) {
      field.problem = error.what();
    }
  }
  if (close || away) field.open = false;
}

}  // namespace headscope::gui
