#include <misc/cpp/imgui_stdlib.h>

#include <algorithm>

#include "app/gui/panels/panels.h"

namespace headscope::gui {
namespace {

/// How well a title fits what was typed; 0: not at all. Every word must appear; at the beginning of a word counts more.
int fit_of(const std::string& title, const std::string& typed) {
  int fit = 1;
  size_t begin = 0;
  while (begin < typed.size()) {
    const size_t end = std::min(typed.find(' ', begin), typed.size());
    const std::string word = typed.substr(begin, end - begin);
    begin = end + 1;
    if (word.empty()) continue;
    const size_t at = title.find(word);
    if (at == std::string::npos) return 0;
    fit += at == 0 ? 8 : title[at - 1] == ' ' ? 4 : 1;
  }
  return fit;
}

struct Match {
  const Command* command;
  int fit;
};

std::vector<Match> matches_of(const std::string& typed) {
  std::vector<Match> matches;
  for (const Command& command : commands()) {
    if (command.title.empty()) continue;
    // Its name counts most; its explanation helps whoever calls the thing otherwise.
    const int by_name = fit_of(lower(command.title) + " " + lower(command.menu), lower(typed));
    const int fit = by_name > 0 ? 100 + by_name : fit_of(lower(command.help), lower(typed));
    if (fit > 0) matches.push_back({&command, fit});
  }
  std::stable_sort(matches.begin(), matches.end(), [](const Match& a, const Match& b) { return a.fit > b.fit; });
  return matches;
}

void draw_match(Ui& ui, const Command& command, bool chosen, bool moved, bool& picked) {
  const std::string reason = command.disabled(ui.app);
  const ImVec2 at = ImGui::GetCursorScreenPos();
  const float width = ImGui::GetContentRegionAvail().x, height = ui.px(28);
  picked |= ImGui::InvisibleButton(std::string(command.id).c_str(), ImVec2(width, height)) && reason.empty();
  ui.regions.add_last_item(fmt::format("palette/{}", command.id));
  ImDrawList& list = *ImGui::GetWindowDrawList();
  if (chosen || ImGui::IsItemHovered()) {
    list.AddRectFilled(at, ImVec2(at.x + width, at.y + height), ui.colour(ColourRole::raised), ui.px(4));
  }
  if (chosen && moved) ImGui::SetScrollHereY(0.5f);
  const float line = ui.fonts.size(TextRole::text, ui.scale), small = ui.fonts.size(TextRole::caption, ui.scale);
  const ImU32 colour = ui.colour(reason.empty() ? ColourRole::text : ColourRole::dim);
  list.AddText(ui.fonts.font(TextRole::text), line, ImVec2(at.x + ui.px(10), at.y + (height - line) / 2), colour,
               command.title.data(), command.title.data() + command.title.size());
  const std::string shortcut(reason.empty() ? std::string_view(command.shortcut) : std::string_view(reason));
  const double text = ui.text.width(shortcut, TextRole::caption);
  list.AddText(ui.fonts.font(TextRole::caption), small,
               ImVec2(at.x + width - ui.px(10 + text), at.y + (height - small) / 2), ui.colour(ColourRole::dim),
               shortcut.c_str());
  if (reason.empty()) explain(ui, command.help);
}

void draw_inside(Ui& ui, Palette& palette) {
  if (palette.opened_now) ImGui::SetKeyboardFocusHere();
  ImGui::SetNextItemWidth(-FLT_MIN);
  if (ImGui::InputTextWithHint("##text", "Search commands", &palette.text)) palette.chosen = 0;
  ui.regions.add_last_item("palette/text");
  const auto matches = matches_of(palette.text);
  const int last = static_cast<int>(matches.size()) - 1;
  const int before = palette.chosen;
  if (ImGui::IsKeyPressed(ImGuiKey_DownArrow)) ++palette.chosen;
  if (ImGui::IsKeyPressed(ImGuiKey_UpArrow)) --palette.chosen;
  palette.chosen = std::clamp(palette.chosen, 0, std::max(0, last));
  const bool enter = ImGui::IsKeyPressed(ImGuiKey_Enter) || ImGui::IsKeyPressed(ImGuiKey_KeypadEnter);
  ImGui::BeginChild("##matches");
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, ImVec2(0, 0));
  if (matches.empty()) {
    ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(ColourRole::dim));
    ImGui::TextUnformatted("No command has these words in its name or explanation.");
    ImGui::PopStyleColor();
  }
  for (int i = 0; i <= last; ++i) {
    const Command& command = *matches[static_cast<size_t>(i)].command;
    bool picked = enter && i == palette.chosen && command.disabled(ui.app).empty();
    draw_match(ui, command, i == palette.chosen, palette.chosen != before, picked);
    if (!picked) continue;
    ui.send(std::string(command.id));
    palette.open = false;
  }
  ImGui::PopStyleVar();
  ImGui::EndChild();
}

}  // namespace

void draw_palette(Ui& ui, Palette& palette) {
  floating_window(ui, "##palette", 560, 420, palette.open, palette.opened_now, [&] { draw_inside(ui, palette); });
}

}  // namespace headscope::gui
