#include "app/gui/app/device_readout.h"
#include "app/gui/panels/dock.h"
#include "app/gui/panels/panels.h"

namespace headscope::gui {
namespace {

constexpr double width = 344, edge = 16, row_height = 22;
constexpr double most_end = width - 2 * edge;  ///< right end of the column of peaks
constexpr double value_end = most_end - 104;   ///< and of the values beside it

constexpr double heading_height = 36, heading_foot = 5;

void draw_heading(Ui& ui, const char* text) {
  ImGui::Dummy(ImVec2(ui.px(most_end), ui.px(heading_height)));
  const float size = ui.fonts.size(TextRole::label, ui.scale);
  const ImVec2 at(ImGui::GetItemRectMin().x, ImGui::GetItemRectMax().y - size - ui.px(heading_foot));
  ImGui::GetWindowDrawList()->AddText(ui.fonts.font(TextRole::label), size, at, ui.colour(ColourRole::text), text);
}

/// Ends at `end` px from the left, `foot` px above the end of the item drawn last.
void draw_right(Ui& ui, const std::string& text, TextRole role, double end, double foot, ColourRole colour) {
  const float size = ui.fonts.size(role, ui.scale);
  const ImVec2 at(ImGui::GetItemRectMin().x + ui.px(end - ui.text.width(text, role)),
                  ImGui::GetItemRectMax().y - size - ui.px(foot));
  ImGui::GetWindowDrawList()->AddText(ui.fonts.font(role), size, at, ui.colour(colour), text.c_str());
}

void draw_row(Ui& ui, const ReadoutRow& row, bool two_columns) {
  const double number_foot = (row_height - ui.fonts.size(TextRole::number, ui.scale) / ui.scale) / 2;
  if (row.sum) {
    ImGui::Dummy(ImVec2(ui.px(most_end), ui.px(5)));
    const ImVec2 from(ImGui::GetItemRectMin().x, ImGui::GetItemRectMin().y + ui.px(2));
    ImGui::GetWindowDrawList()->AddLine(from, ImVec2(from.x + ui.px(most_end), from.y), ui.colour(ColourRole::line));
  }
  ImGui::Dummy(ImVec2(ui.px(most_end), ui.px(row_height)));
  const ImVec2 at = ImGui::GetItemRectMin();
  const float size = ui.fonts.size(TextRole::text, ui.scale);
  ImGui::GetWindowDrawList()->AddText(ui.fonts.font(TextRole::text), size,
                                      ImVec2(at.x, at.y + (ui.px(row_height) - size) / 2), ui.colour(ColourRole::dim),
                                      row.name.c_str());
  const double end = two_columns ? value_end : most_end;
  const double room = end - ui.text.width(row.name, TextRole::text) - 12;
  const std::string value = ui.text.fitted(row.value, TextRole::number, room);
  draw_right(ui, value, TextRole::number, end, number_foot, ColourRole::text);
  if (!row.most.empty()) draw_right(ui, row.most, TextRole::number, most_end, number_foot, ColourRole::dim);
  if (!ImGui::IsItemHovered()) return;
  tooltip(ui, value == row.value ? row.meaning : row.value + '\n' + row.meaning);
  ui.under_cursor = fmt::format("{}: {}", row.name, row.value);
}

void draw_readout(Ui& ui, const DeviceReadout& readout) {
  {
    const auto font = ui.font(TextRole::title);
    ImGui::TextUnformatted("Device and memory");
  }
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, ImVec2(0, 0));
  if (!readout.reason.empty()) {
    ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(ColourRole::dim));
    ImGui::PushTextWrapPos(ui.px(edge + most_end));
    const auto font = ui.font(TextRole::caption);
    ImGui::TextUnformatted(readout.reason.c_str());
    ImGui::PopTextWrapPos();
    ImGui::PopStyleColor();
  }
  draw_heading(ui, "Computed by");
  for (const ReadoutRow& row : readout.work) draw_row(ui, row, false);
  draw_heading(ui, "Memory");
  if (readout.memory.empty()) {
    ImGui::Dummy(ImVec2(ui.px(most_end), ui.px(row_height)));
    draw_right(ui, "being read", TextRole::caption, most_end, heading_foot, ColourRole::dim);
  } else {
    draw_right(ui, "now", TextRole::caption, value_end, heading_foot, ColourRole::dim);
    draw_right(ui, "at most", TextRole::caption, most_end, heading_foot, ColourRole::dim);
  }
  for (const ReadoutRow& row : readout.memory) draw_row(ui, row, true);
  ImGui::PopStyleVar();
}

}  // namespace

void draw_device_panel(Ui& ui, const DevicePanel& panel) {
  if (!panel.open) return;
  const ImVec2 screen = ImGui::GetMainViewport()->Size;
  const float top = ui.px(top_bar_height + 12);
  ImGui::SetNextWindowPos(ImVec2(screen.x - ui.px(width + 12), top));
  ImGui::SetNextWindowSizeConstraints(ImVec2(ui.px(width), 0), ImVec2(ui.px(width), screen.y - top - ui.px(12)));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(ui.px(edge), ui.px(edge)));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowBorderSize, std::max(1.0f, ui.px(1)));
  ImGui::PushStyleColor(ImGuiCol_WindowBg, ui.colour(ColourRole::panel));
  ImGui::PushStyleColor(ImGuiCol_Border, ui.colour(ColourRole::line));
  ImGui::Begin("##device", nullptr,
               ImGuiWindowFlags_NoTitleBar | ImGuiWindowFlags_NoResize | ImGuiWindowFlags_AlwaysAutoResize |
                   ImGuiWindowFlags_NoMove | ImGuiWindowFlags_NoSavedSettings | ImGuiWindowFlags_NoDocking |
                   ImGuiWindowFlags_NoFocusOnAppearing);
  draw_readout(ui, readout_of(ui.app, panel.map_kernel));
  ImGui::SetCursorPos(ImVec2(ui.px(edge + most_end - 26), ui.px(10)));
  if (close_button(ui, "device/close")) ui.send("toggle_device");
  ImGui::End();
  ImGui::PopStyleColor(2);
  ImGui::PopStyleVar(2);
}

}  // namespace headscope::gui
