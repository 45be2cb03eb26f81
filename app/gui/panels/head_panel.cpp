#include "app/gui/panels/dock.h"
#include "app/gui/panels/panels.h"
#include "core/views/head.h"

namespace headscope::gui {
namespace {

HeadData card_data(const App& app) {
  const SlotData& data = app.data();
  const Selection& selection = app.state.slot().selection;
  HeadData card;
  if (data.run && has_head(*data.model->architecture(), selection)) {
    card = head_data(*data.run->atlas, *data.model->architecture(), *selection.layer, *selection.head);
    card.next = data.run->next;
  } else {
    card.facts = data.run ? data.run->atlas->facts : facts_of(app);
  }
  return card;
}

bool is_switched_off(const SlotState& slot) {
  const Selection& selection = slot.selection;
  for (const HeadId& head : slot.switched_off) {
    if (selection.layer == head.layer && selection.head == head.head) return true;
  }
  return false;
}

/// The card in `width` px, as high as it needs, at least `room`.
void draw_card(Ui& ui, double width, double room) {
  constexpr double whole_card = 700;  // px, for map, measures and some next tokens
  const Selection& selection = ui.app.state.slot().selection;
  const bool tall = ui.app.data().run && room < whole_card;
  const double height = tall ? whole_card : room, shown = tall ? width - 12 : width;  // beside the scrollbar
  const std::string key =
      fmt::format("{} {} {} {} {} {} {} {}", ui.data_key(), selection.layer.value_or(-1), selection.head.value_or(-1),
                  selection.query.value_or(-1), selection.key.value_or(-1), shown, height, ui.app.state.map.log_colour);
  const CachedFigure& cached = ui.figure("head", key, [&] {
    HeadState state;
    state.log_colour = ui.app.state.map.log_colour;
    return head(card_data(ui.app), state, selection, Layout{shown, height, ui.scale, ui.text});
  });
  const FigureInput input = show_figure(ui, cached, "head", false);
  if (!input.hit) return;
  tooltip(ui, input.hit->tooltip);
  ui.under_cursor = input.hit->tooltip;
  if (input.clicked && input.hit->id == "head/map") ui.send("view_map");
}

}  // namespace

void draw_head_panel(Ui& ui) {
  const ImVec2 size = ImGui::GetContentRegionAvail();
  const double width = size.x / ui.scale, height = std::max(60.0, size.y / ui.scale - 56);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(0, 0));
  ImGui::BeginChild("##card", ImVec2(ui.px(width), ui.px(height)), ImGuiChildFlags_None, ImGuiWindowFlags_NoBackground);
  draw_card(ui, width, height);
  ImGui::EndChild();
  ImGui::PopStyleVar();
  const bool off = is_switched_off(ui.app.state.slot());
  ImGui::SetCursorPos(ImVec2(ui.px(16), ImGui::GetWindowHeight() - ui.px(48)));
  command_button(ui, off ? "Switch head on" : "Switch head off", "switch_off", width - 32,
                 off ? ButtonKind::toggle_on : ButtonKind::plain);
}

void draw_head_overlay(Ui& ui, const Middle& middle, bool& open) {
  if (!open || !ui.app.data().run) return;
  const float width = ui.px(head_width), top = middle.at.y + ui.px(44);
  const float height = std::min(ui.px(660), middle.at.y + middle.size.y - top - ui.px(8));
  ImGui::SetNextWindowPos(ImVec2(middle.at.x + middle.size.x - width - ui.px(8), top));
  ImGui::SetNextWindowSize(ImVec2(width, height));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowBorderSize, std::max(1.0f, ui.px(1)));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(0, 0));
  ImGui::PushStyleColor(ImGuiCol_WindowBg, ui.colour(ColourRole::panel));
  ImGui::PushStyleColor(ImGuiCol_Border, ui.colour(ColourRole::line));
  ImGui::Begin("##head", nullptr,
               ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove | ImGuiWindowFlags_NoSavedSettings |
                   ImGuiWindowFlags_NoDocking | ImGuiWindowFlags_NoFocusOnAppearing);
  draw_head_panel(ui);
  ImGui::SetCursorPos(ImVec2(width - ui.px(34), ui.px(8)));
  if (close_button(ui, "head/close")) open = false;
  ImGui::End();
  ImGui::PopStyleColor(2);
  ImGui::PopStyleVar(2);
}

}  // namespace headscope::gui
