#include <misc/cpp/imgui_stdlib.h>

#include "app/gui/panels/panels.h"
#include "core/views/write.h"

namespace headscope::gui {
namespace {

/// Sends the export, or says what stands against it.
void try_export(Ui& ui, ExportField& field) {
  std::error_code ignored;
  try {
    check_figure_path(field.path);
    if (std::filesystem::exists(field.path, ignored) && !field.confirm) {
      field.confirm = true;
      field.problem = "This file is there already. Overwrite it?";
      return;
    }
    ui.send("export " + quoted_word(field.path));
    field.open = false;
  } catch (const Error& error) {
    field.problem = error.what();
    field.focus = true;  // to be typed on
  }
}

void draw_inside(Ui& ui, ExportField& field) {
  {
    const auto font = ui.font(TextRole::label);
    ImGui::TextUnformatted("Export this view");
  }
  ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(ColourRole::dim));
  ImGui::TextUnformatted("The ending decides: .svg and .png are pictures, .csv is the numbers.");
  ImGui::PopStyleColor();
  if (field.opened_now || std::exchange(field.focus, false)) ImGui::SetKeyboardFocusHere();
  ImGui::SetNextItemWidth(-FLT_MIN);
  bool go = ImGui::InputText("##path", &field.path, ImGuiInputTextFlags_EnterReturnsTrue);
  if (ImGui::IsItemEdited()) field.confirm = false, field.problem.clear();
  ui.regions.add_last_item("export/path");
  ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(ColourRole::dim));
  ImGui::TextUnformatted(ui.text.fitted(printable(whole_path(field.path), ui.text), TextRole::text, 488).c_str());
  ImGui::PopStyleColor();
  if (!field.problem.empty()) {
    ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(field.confirm ? ColourRole::warning : ColourRole::error));
    ImGui::TextWrapped("%s", field.problem.c_str());
    ImGui::PopStyleColor();
  }
  go |= button(ui, field.confirm ? "Overwrite" : "Export", 120, ButtonKind::primary);
  ui.regions.add_last_item("export/go");
  ImGui::SameLine();
  if (button(ui, "Cancel", 120)) field.open = false;
  if (go) try_export(ui, field);
}

}  // namespace

void draw_export_field(Ui& ui, ExportField& field) {
  floating_window(ui, "##export", 520, field.problem.empty() ? 188 : 232, field.open, field.opened_now,
                  [&] { draw_inside(ui, field); });
}

}  // namespace headscope::gui
