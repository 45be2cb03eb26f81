#include <cmath>

#include "app/gui/panels/dock.h"
#include "app/gui/panels/panels.h"

namespace headscope::gui {
namespace {

/// Centres an item of `height` px in the bar.
void centre(Ui& ui, double height) { ImGui::SetCursorPosY((ImGui::GetWindowHeight() - ui.px(height)) / 2); }

void draw_menu(Ui& ui, const char* name) {
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(ui.px(10), ui.px(8)));
  const bool open = ImGui::BeginMenu(name);
  ImGui::PopStyleVar();
  if (!open) {
    ui.regions.add_last_item(fmt::format("menu/{}", name));
    return;
  }
  for (const Command& command : commands()) {
    if (command.menu != name) continue;
    const std::string reason = command.disabled(ui.app);
    if (ImGui::MenuItem(std::string(command.title).c_str(), std::string(command.shortcut).c_str(), false,
                        reason.empty())) {
      ui.send(std::string(command.id));
    }
    ui.regions.add_last_item(fmt::format("menu/{}/{}", name, command.id));
    explain(ui, reason.empty() ? command.help : std::string_view(reason));
  }
  if (std::string_view(name) == "File" && !ui.app.state.recent.empty()) {
    ImGui::Separator();
    draw_recent_models(ui, 0);
  }
  ImGui::EndMenu();
}

void draw_slot_tab(Ui& ui, ModelSlot slot, double width) {
  const SlotData& data = ui.app.data(slot);
  const bool active = ui.app.state.active == slot;
  const ColourRole own = accent(slot);
  const ImVec2 at = ImGui::GetCursorScreenPos();
  const ImVec2 size(ui.px(width), ui.px(28));
  const std::string id = fmt::format("slot/{}", slot_name(slot));
  if (ImGui::InvisibleButton(id.c_str(), size)) {
    ui.send(data.model || !data.opening.empty() ? fmt::format("slot {}", slot_name(slot))
            : slot == ModelSlot::a              ? "open"
                                                : "open_b");
  }
  ui.regions.add_last_item(id);
  const bool hovered = ImGui::IsItemHovered();
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const ImVec2 end(at.x + size.x, at.y + size.y);
  list.AddRectFilled(at, end, ui.colour(active || hovered ? ColourRole::raised : ColourRole::panel), ui.px(4));
  list.AddRect(at, end, ui.colour(own, active ? 1 : 0.45), ui.px(4), ui.px(1));
  const ImVec2 badge(at.x + ui.px(6), at.y + ui.px(5));
  list.AddRectFilled(badge, ImVec2(badge.x + ui.px(18), badge.y + ui.px(18)), ui.colour(own), ui.px(3));
  const auto text = [&](double x, std::string_view words, TextRole role, ImU32 colour) {
    const float height = ui.fonts.size(role, ui.scale);
    list.AddText(ui.fonts.font(role), height, ImVec2(at.x + ui.px(x), at.y + (size.y - height) / 2), colour,
                 words.data(), words.data() + words.size());
  };
  const double letter = ui.text.width(slot_name(slot), TextRole::caption);
  text(6 + (18 - letter) / 2, slot_name(slot), TextRole::caption, ui.colour(ColourRole::panel));
  std::string name = data.model ? data.model->name() : slot == ModelSlot::a ? "open a model" : "open a second model";
  if (!data.opening.empty()) name = "opening " + std::filesystem::path(data.opening).filename().string();
  const std::string variant = data.model ? variant_name(*data.model->architecture()) : "";
  // The name goes first: a long variant is shortened, or left to the tooltip.
  name = ui.text.fitted(printable(name, ui.text), TextRole::text, width - 42);
  const double left = width - 42 - ui.text.width(name, TextRole::text) - 10;
  text(32, name, TextRole::text, ui.colour(data.model ? ColourRole::text : ColourRole::dim));
  if (!variant.empty() && left >= 40) {
    text(32 + ui.text.width(name, TextRole::text) + 10, ui.text.fitted(variant, TextRole::caption, left),
         TextRole::caption, ui.colour(ColourRole::dim));
  }
  explain(ui,
          data.model ? fmt::format("{}\n{}", ui.app.state.slots[index_of(slot)].path, variant)
                     : "Opens a model here. A folder or .h5 file may be dropped on the window, too.",
          "Ctrl+Tab switches between A and B");
}

void draw_search(Ui& ui, double width) {
  const ImVec2 at = ImGui::GetCursorScreenPos();
  const ImVec2 size(ui.px(width), ui.px(28));
  if (ImGui::InvisibleButton("search", size)) ui.send("palette");
  ui.regions.add_last_item("search");
  ImDrawList& list = *ImGui::GetWindowDrawList();
  list.AddRectFilled(at, ImVec2(at.x + size.x, at.y + size.y),
                     ui.colour(ColourRole::raised, ImGui::IsItemHovered() ? 1 : 0.75), ui.px(4));
  const float height = ui.fonts.size(TextRole::text, ui.scale), small = ui.fonts.size(TextRole::caption, ui.scale);
  list.AddText(ui.fonts.font(TextRole::text), height, ImVec2(at.x + ui.px(12), at.y + (size.y - height) / 2),
               ui.colour(ColourRole::dim), "Search commands");
  const double shortcut = ui.text.width("Ctrl K", TextRole::caption);
  list.AddText(ui.fonts.font(TextRole::caption), small,
               ImVec2(at.x + ui.px(width - 12 - shortcut), at.y + (size.y - small) / 2), ui.colour(ColourRole::dim),
               "Ctrl K");
  explain(ui, "Finds any command by its name.", "Ctrl+K");
}

/// Device, kernel and memory in two lines; a click shows them at length.
void draw_device(Ui& ui, double width, const DevicePanel& device) {
  const ImVec2 at = ImGui::GetCursorScreenPos();
  if (ImGui::InvisibleButton("device", ImVec2(ui.px(width), ui.px(32)))) ui.send("toggle_device");
  ui.regions.add_last_item("device");
  const DeviceReadout readout = readout_of(ui.app, device.map_kernel);
  const float small = ui.fonts.size(TextRole::caption, ui.scale);
  const auto line = [&](double y, const std::string& words, ColourRole colour) {
    const std::string shown = ui.text.fitted(words, TextRole::caption, width);
    const ImVec2 place(at.x + ui.px(width - ui.text.width(shown, TextRole::caption)), at.y + ui.px(y));
    ImGui::GetWindowDrawList()->AddText(ui.fonts.font(TextRole::caption), small, place, ui.colour(colour),
                                        shown.c_str());
  };
  line(1, readout.computes, ImGui::IsItemHovered() ? ColourRole::text : ColourRole::dim);
  line(17, readout.holds, ImGui::IsItemHovered() ? ColourRole::text : ColourRole::dim);
  if (device.open) return;  // which says the same
  std::string help = readout.computes + '\n';
  for (const std::string& sentence : {readout.held, readout.reason}) help += sentence + (sentence.empty() ? "" : "\n");
  explain(ui, help + "Shows device, kernels and memory by purpose.", "Ctrl+M");
}

/// What runs, with a bar and a cross; else device and kernel.
void draw_status(Ui& ui, double width, const DevicePanel& device) {
  const Engine::Status job = ui.app.status();
  if (!job.busy) return draw_device(ui, width, device);
  const ImVec2 at = ImGui::GetCursorScreenPos();
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const float small = ui.fonts.size(TextRole::caption, ui.scale);
  const float y = at.y + (ui.px(28) - small) / 2;
  const auto text = [&](double x, const std::string& words, ImU32 colour) {
    list.AddText(ui.fonts.font(TextRole::caption), small, ImVec2(at.x + ui.px(x), y), colour, words.c_str());
  };
  text(0, fmt::format("{} {}", job.stage, slot_name(job.slot)), ui.colour(ColourRole::text));
  const double from = 92, to = width - 34;
  const float middle = at.y + ui.px(14);
  const auto bar = [&](double end, ImU32 colour) {
    list.AddRectFilled(ImVec2(at.x + ui.px(from), middle - ui.px(3)), ImVec2(at.x + ui.px(end), middle + ui.px(3)),
                       colour, ui.px(3));
  };
  if (to > from + 8) {
    bar(to, ui.colour(ColourRole::raised));
    if (job.fraction > 0.01) bar(from + (to - from) * std::min(1.0, job.fraction), ui.colour(accent(job.slot)));
  }
  ImGui::SetCursorScreenPos(ImVec2(at.x + ui.px(width - 26), at.y));
  if (ImGui::InvisibleButton("cancel", ImVec2(ui.px(26), ui.px(28)))) ui.send("cancel");
  ui.regions.add_last_item("cancel");
  const ImVec2 cross(at.x + ui.px(width - 13), middle);
  const ImU32 colour = ui.colour(ImGui::IsItemHovered() ? ColourRole::error : ColourRole::dim);
  const float arm = ui.px(5);
  list.AddLine(ImVec2(cross.x - arm, cross.y - arm), ImVec2(cross.x + arm, cross.y + arm), colour, ui.px(1.5));
  list.AddLine(ImVec2(cross.x - arm, cross.y + arm), ImVec2(cross.x + arm, cross.y - arm), colour, ui.px(1.5));
  explain(ui, "Stops what is running; what is done stays.", "Ctrl+.");
}

void draw_bar(Ui& ui, const DevicePanel& device) {
  const double width = ImGui::GetWindowWidth() / ui.scale;
  if (ImGui::BeginMenuBar()) {
    {
      const auto font = ui.font(TextRole::label);
      ImGui::TextUnformatted("HeadScope");
    }
    ImGui::Dummy(ImVec2(ui.px(2), 0));
    for (const char* menu : {"File", "Edit", "View", "Model", "Run", "Help"}) draw_menu(ui, menu);
    const double from = ImGui::GetCursorPosX() / ui.scale + 12;
    const double status = std::clamp(width * 0.16, 150.0, 240.0);
    const double search = width >= 1180 ? 240 : 0;
    const double room = width - from - status - search - 44;
    const double tab = std::clamp((room - 12) / 2, 60.0, 220.0);
    ImGui::SetCursorPosX(ui.px(from));
    centre(ui, 28);
    draw_slot_tab(ui, ModelSlot::a, tab);
    ImGui::SetCursorPosX(ui.px(from + tab + 8));
    centre(ui, 28);
    draw_slot_tab(ui, ModelSlot::b, tab);
    if (search > 0) {
      ImGui::SetCursorPosX(ui.px(width - status - search - 32));
      centre(ui, 28);
      draw_search(ui, search);
    }
    ImGui::SetCursorPosX(ui.px(width - status - 16));
    centre(ui, ui.app.status().busy ? 28 : 32);
    draw_status(ui, status, device);
    ImGui::SameLine();
    ImGui::Dummy(ImVec2(0, 0));  // ImGui wants an item behind a moved cursor
    ImGui::EndMenuBar();
  }
}

}  // namespace

void draw_top_bar(Ui& ui, const DevicePanel& device) {
  ImGui::SetNextWindowPos(ImVec2(0, 0));
  ImGui::SetNextWindowSize(ImVec2(ImGui::GetMainViewport()->Size.x, ui.px(top_bar_height)));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(ui.px(16), 0));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowMinSize, ImVec2(1, 1));
  ImGui::PushStyleVar(ImGuiStyleVar_FramePadding, ImVec2(ui.px(6), (ui.px(top_bar_height) - ImGui::GetFontSize()) / 2));
  ImGui::PushStyleColor(ImGuiCol_WindowBg, ui.colour(ColourRole::panel));
  ImGui::PushStyleColor(ImGuiCol_MenuBarBg, ui.colour(ColourRole::panel));
  ImGui::Begin("##bar", nullptr,
               ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_MenuBar | ImGuiWindowFlags_NoMove |
                   ImGuiWindowFlags_NoSavedSettings | ImGuiWindowFlags_NoDocking |
                   ImGuiWindowFlags_NoBringToFrontOnFocus);
  draw_bar(ui, device);
  ImGui::End();
  ImGui::PopStyleColor(2);
  ImGui::PopStyleVar(3);
}

}  // namespace headscope::gui
