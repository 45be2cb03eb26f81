#include <misc/cpp/imgui_stdlib.h>

#include <algorithm>
#include <cctype>

#include "app/gui/panels/panels.h"

namespace headscope::gui {
namespace {

namespace fs = std::filesystem;

constexpr size_t most_entries = 10000;

bool is_model(const fs::path& path, bool folder) {
  std::error_code ignored;
  return folder ? fs::exists(path / "config.json", ignored) : path.extension() == ".h5";
}

/// Folders and .h5 files, models first in sight by their mark; hidden ones left out.
void list_folder(Browser& browser) {
  browser.entries.clear();
  browser.problem.clear();
  browser.chosen = -1;
  std::error_code error;
  for (fs::directory_iterator at(browser.folder, fs::directory_options::skip_permission_denied, error), end;
       !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.empty() || name.front() == '.' || browser.entries.size() >= most_entries) continue;
    std::error_code ignored;
    const bool folder = at->is_directory(ignored);
    if (folder || at->path().extension() == ".h5") {
      browser.entries.push_back({name, folder, is_model(at->path(), folder)});
    }
  }
  if (error) browser.problem = fmt::format("{} cannot be listed: {}.", quoted_path(browser.folder), error.message());
  std::sort(browser.entries.begin(), browser.entries.end(), [](const Browser::Entry& a, const Browser::Entry& b) {
    return std::tie(b.folder, a.name) < std::tie(a.folder, b.name);
  });
}

void go_to(Browser& browser, fs::path folder) {
  browser.folder = std::move(folder);
  browser.text = browser.folder.string();
  list_folder(browser);
}

/// A model is opened; another folder is entered.
void take(Ui& ui, Browser& browser, const fs::path& path, bool model) {
  if (!model) return go_to(browser, path);
  ui.app.state.folder = browser.folder.string();
  ui.send(fmt::format("open {} {}", quoted_word(path.string()), slot_name(browser.slot)));
  browser.open = false;
}

void draw_entry(Ui& ui, Browser& browser, const Browser::Entry& entry, int index) {
  const ImVec2 at = ImGui::GetCursorScreenPos();
  const float width = ImGui::GetContentRegionAvail().x;
  ImGui::PushID(index);
  if (ImGui::Selectable("##entry", browser.chosen == index, ImGuiSelectableFlags_AllowDoubleClick,
                        ImVec2(0, ui.px(26)))) {
    browser.chosen = index;
    if (ImGui::IsMouseDoubleClicked(ImGuiMouseButton_Left)) {
      take(ui, browser, browser.folder / entry.name, entry.model);
    }
  }
  ImGui::PopID();
  ui.regions.add_last_item(fmt::format("browser/{}", entry.name));
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const float size = ui.fonts.size(TextRole::text, ui.scale);
  const std::string name = ui.text.fitted(printable(entry.name, ui.text) + (entry.folder ? "/" : ""), TextRole::text,
                                          width / ui.scale - 120);
  list.AddText(ui.fonts.font(TextRole::text), size, ImVec2(at.x + ui.px(8), at.y + (ui.px(26) - size) / 2),
               ui.colour(entry.model ? ColourRole::text : ColourRole::dim), name.c_str());
  if (!entry.model) return;
  const float small = ui.fonts.size(TextRole::caption, ui.scale);
  const double mark = ui.text.width("model", TextRole::caption);
  list.AddText(ui.fonts.font(TextRole::caption), small,
               ImVec2(at.x + width - ui.px(mark + 10), at.y + (ui.px(26) - small) / 2), ui.colour(accent(browser.slot)),
               "model");
}

void draw_path_field(Ui& ui, Browser& browser) {
  if (ImGui::Button("Up")) go_to(browser, browser.folder.parent_path());
  ui.regions.add_last_item("browser/up");
  explain(ui, "The folder above.");
  ImGui::SameLine();
  if (browser.opened_now) ImGui::SetKeyboardFocusHere();
  ImGui::SetNextItemWidth(-FLT_MIN);
  if (!ImGui::InputText("##path", &browser.text, ImGuiInputTextFlags_EnterReturnsTrue)) {
    ui.regions.add_last_item("browser/path");
    return;
  }
  std::error_code ignored;
  const fs::path typed(browser.text);
  if (!fs::exists(typed, ignored)) {
    browser.problem = fmt::format("There is nothing at {}.", quoted_path(typed));
    return;
  }
  const bool folder = fs::is_directory(typed, ignored);
  take(ui, browser, typed, !folder || is_model(typed, true));
}

}  // namespace

void open_browser(Browser& browser, ModelSlot slot, const std::string& folder) {
  browser.open = browser.opened_now = true;
  browser.slot = slot;
  std::error_code ignored;
  fs::path start = folder;
  if (start.empty() || !fs::is_directory(start, ignored)) start = fs::current_path(ignored);
  go_to(browser, start);
}

static void draw_inside(Ui& ui, Browser& browser) {
  {
    const auto font = ui.font(TextRole::label);
    ImGui::Text("Open a model in slot %s", std::string(slot_name(browser.slot)).c_str());
  }
  draw_path_field(ui, browser);
  ImGui::BeginChild("##entries", ImVec2(0, -ui.px(32 + 12)));
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, ImVec2(0, 0));
  if (!browser.problem.empty() || browser.entries.empty()) {
    ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(browser.problem.empty() ? ColourRole::dim : ColourRole::error));
    ImGui::TextWrapped("%s",
                       browser.problem.empty() ? "No folders and no .h5 files are here." : browser.problem.c_str());
    ImGui::PopStyleColor();
  }
  for (size_t i = 0; i < browser.entries.size(); ++i) {
    const Browser::Entry entry = browser.entries[i];  // the list changes when a folder is entered
    draw_entry(ui, browser, entry, static_cast<int>(i));
  }
  ImGui::PopStyleVar();
  ImGui::EndChild();
  const bool has_choice = browser.chosen >= 0 && browser.chosen < static_cast<int>(browser.entries.size());
  ImGui::BeginDisabled(!has_choice);
  if (ImGui::Button("Open", ImVec2(ui.px(120), ui.px(32))) && has_choice) {
    const Browser::Entry chosen = browser.entries[static_cast<size_t>(browser.chosen)];
    take(ui, browser, browser.folder / chosen.name, chosen.model);
  }
  ui.regions.add_last_item("browser/open");
  ImGui::EndDisabled();
  ImGui::SameLine();
  if (ImGui::Button("Cancel", ImVec2(ui.px(120), ui.px(32)))) browser.open = false;
  ui.regions.add_last_item("browser/cancel");
}

void draw_browser(Ui& ui, Browser& browser) {
  floating_window(ui, "##browser", 640, 480, browser.open, browser.opened_now, [&] { draw_inside(ui, browser); });
}

}  // namespace headscope::gui
