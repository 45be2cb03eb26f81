#include <algorithm>

#include "app/gui/panels/panels.h"

namespace headscope::gui {
namespace {

/// The part of a plate below its sentence; returns whether it was dismissed.
bool draw_buttons(Ui& ui, const Plate& plate) {
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
  return dismissed;
}

/// An error takes a title, its sentence and what can be done; a note takes one line.
bool draw_content(Ui& ui, const Plate& plate, double width) {
  const auto title = [&](ColourRole role) {
    const auto font = ui.font(TextRole::label);
    ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(role));
    ImGui::TextUnformatted(plate.title.c_str());
    ImGui::PopStyleColor();
  };
  if (plate.error) {
    title(ColourRole::error);
    ImGui::PushTextWrapPos(ui.px(width - 14));
    ImGui::TextUnformatted(plate.sentence.c_str());
    ImGui::PopTextWrapPos();
    return draw_buttons(ui, plate);
  }
  ImGui::AlignTextToFramePadding();
  title(accent(ui.app.state.active));
  ImGui::SameLine(0, ui.px(12));
  const double button = ui.text.width("Dismiss", TextRole::text) + 24;
  ImGui::PushTextWrapPos(ui.px(width - 14 - button - 12));
  ImGui::TextUnformatted(plate.sentence.c_str());
  ImGui::PopTextWrapPos();
  ImGui::SameLine(ui.px(width - 14 - button));
  const bool dismissed = ImGui::Button("Dismiss");
  ui.regions.add_last_item("plate/dismiss");
  return dismissed;
}

/// Returns whether the message was dismissed.
bool draw_plate(Ui& ui, const Plate& plate, size_t index, double width) {
  ImGui::PushStyleColor(ImGuiCol_ChildBg, ui.colour(ColourRole::window));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(ui.px(14), ui.px(plate.error ? 10 : 4)));
  ImGui::BeginChild(fmt::format("##plate{}", index).c_str(), ImVec2(ui.px(width), 0),
                    ImGuiChildFlags_AutoResizeY | ImGuiChildFlags_AlwaysUseWindowPadding);
  const bool dismissed = draw_content(ui, plate, width);
  const ImVec2 at = ImGui::GetWindowPos();
  ImGui::GetWindowDrawList()->AddRectFilled(at, ImVec2(at.x + ui.px(3), at.y + ImGui::GetWindowHeight()),
                                            ui.colour(plate.error ? ColourRole::error : accent(ui.app.state.active)));
  ImGui::EndChild();
  ImGui::PopStyleVar();
  ImGui::PopStyleColor();
  ImGui::Dummy(ImVec2(0, ui.px(4)));
  return dismissed;
}

void draw_plates(Ui& ui, double width, bool errors) {
  const auto& plates = ui.app.data().plates;
  for (size_t index = 0; index < plates.size(); ++index) {
    if (plates[index].error != errors) continue;
    if (draw_plate(ui, plates[index], index, width)) ui.send(fmt::format("dismiss {}", index));
  }
}

}  // namespace

void draw_errors(Ui& ui, double width) { draw_plates(ui, width, true); }

void draw_notes(Ui& ui, const Middle& middle) {
  const auto& plates = ui.app.data().plates;
  if (std::all_of(plates.begin(), plates.end(), [](const Plate& plate) { return plate.error; })) return;
  const double width = std::min(720.0, middle.size.x / ui.scale - 24);
  ImGui::SetNextWindowPos(ImVec2(middle.at.x + ui.px(12), middle.at.y + middle.size.y - ui.px(12)), ImGuiCond_Always,
                          ImVec2(0, 1));
  ImGui::SetNextWindowSize(ImVec2(ui.px(width), 0));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(0, 0));
  ImGui::PushStyleColor(ImGuiCol_WindowBg, ui.colour(ColourRole::window));
  ImGui::Begin("##notes", nullptr,
               ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove | ImGuiWindowFlags_NoSavedSettings |
                   ImGuiWindowFlags_NoDocking | ImGuiWindowFlags_NoFocusOnAppearing);
  draw_plates(ui, width, false);
  ImGui::End();
  ImGui::PopStyleColor();
  ImGui::PopStyleVar();
}

}  // namespace headscope::gui
