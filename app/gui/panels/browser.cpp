#include <misc/cpp/imgui_stdlib.h>

#include <algorithm>

#include "app/gui/panels/panels.h"
#include "core/io/content_kind.h"

namespace headscope::gui {
namespace {

namespace fs = std::filesystem;

constexpr size_t most_entries = 10000;

/// A file by its first bytes, so that a text that ends on .h5 is none.
bool is_model(const fs::path& path, bool folder) {
  std::error_code ignored;
  if (folder) return fs::exists(path / "config.json", ignored);
  try {
    return path.extension() == ".h5" && content_kind_of(path) == ContentKind::hdf5;
  } catch (const Error&) {
    return false;  // unreadable
  }
}

/// What is typed behind the last slash: a part of a name.
std::string typed_name(const Browser& browser) { return lower(browser.text.substr(browser.text.rfind('/') + 1)); }

/// The path that is typed, with ~ for the home folder.
fs::path typed_path(const Browser& browser) {
  const char* home = std::getenv("HOME");
  const bool from_home = home != nullptr && (browser.text == "~" || browser.text.starts_with("~/"));
  const fs::path path = from_home ? home + browser.text.substr(1) : browser.text;
  return path.is_absolute() ? path : browser.folder / path;
}

/// Shows the entries whose names contain what is typed, those that begin with it first.
void narrow_down(Browser& browser) {
  const std::string typed = typed_name(browser);
  browser.shown.clear();
  for (size_t i = 0; i < browser.entries.size(); ++i) {
    if (lower(browser.entries[i].name).find(typed) != std::string::npos) browser.shown.push_back(i);
  }
  std::stable_partition(browser.shown.begin(), browser.shown.end(),
                        [&](size_t i) { return lower(browser.entries[i].name).starts_with(typed); });
  browser.chosen = typed.empty() || browser.shown.empty() ? -1 : 0;
  browser.picked = false;
}

/// Folders and .h5 files, models first in sight by their mark; hidden ones left out.
void list_folder(Browser& browser) {
  browser.entries.clear();
  browser.problem.clear();
  bool cut = false;
  std::error_code error;
  for (fs::directory_iterator at(browser.folder, fs::directory_options::skip_permission_denied, error), end;
       !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    std::error_code ignored;
    const bool folder = at->is_directory(ignored);
    if (name.empty() || name.front() == '.' || (!folder && at->path().extension() != ".h5")) continue;
    if (cut = browser.entries.size() >= most_entries; cut) break;
    browser.entries.push_back({name, folder, is_model(at->path(), folder)});
  }
  if (error) browser.problem = fmt::format("{} cannot be listed: {}.", quoted_path(browser.folder), error.message());
  if (cut) browser.problem = fmt::format("Only {} entries are listed; type the path of another one.", most_entries);
  std::sort(browser.entries.begin(), browser.entries.end(), [](const Browser::Entry& a, const Browser::Entry& b) {
    return std::tie(b.folder, a.name) < std::tie(a.folder, b.name);
  });
  narrow_down(browser);
}

/// Lists the folder that the typed path lies in when that is another one.
void follow_typed_path(Browser& browser) {
  std::error_code ignored;
  const size_t slash = browser.text.rfind('/');
  // Spelled as the folder is, so that it is not listed again with every letter.
  const fs::path parent =
      slash == std::string::npos ? browser.folder : fs::path(whole_path(typed_path(browser).parent_path().string()));
  if (parent != browser.folder && fs::is_directory(parent, ignored)) {
    browser.folder = parent;
    list_folder(browser);
  } else {
    browser.problem.clear();
    narrow_down(browser);
  }
}

void go_to(Browser& browser, fs::path folder) {
  browser.folder = whole_path(folder.string());
  browser.text = (browser.folder / "").string();
  browser.at_end = true;
  list_folder(browser);
}

/// A model is opened; another folder is entered.
void take(Ui& ui, Browser& browser, const fs::path& path, bool model) {
  if (!model) return go_to(browser, path);
  ui.app.state.folder = browser.folder.string();
  ui.send(fmt::format("open {} {}", quoted_word(path.string()), slot_name(browser.slot)));
  browser.open = false;
}

void take_chosen(Ui& ui, Browser& browser) {
  const Browser::Entry entry = browser.entries[browser.shown[static_cast<size_t>(browser.chosen)]];
  take(ui, browser, browser.folder / entry.name, entry.model);
}

/// Returns whether the entry was double-clicked.
bool draw_entry(Ui& ui, Browser& browser, const Browser::Entry& entry, int index) {
  const ImVec2 at = ImGui::GetCursorScreenPos();
  const float width = ImGui::GetContentRegionAvail().x;
  bool taken = false;
  ImGui::PushID(index);
  if (ImGui::Selectable("##entry", browser.chosen == index, ImGuiSelectableFlags_AllowDoubleClick,
                        ImVec2(0, ui.px(26)))) {
    browser.chosen = index;
    browser.picked = true;
    taken = ImGui::IsMouseDoubleClicked(ImGuiMouseButton_Left);
  }
  ImGui::PopID();
  ui.regions.add_last_item(fmt::format("browser/{}", entry.name));
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const float size = ui.fonts.size(TextRole::text, ui.scale);
  const std::string name = ui.text.fitted(printable(entry.name, ui.text) + (entry.folder ? "/" : ""), TextRole::text,
                                          width / ui.scale - 120);
  list.AddText(ui.fonts.font(TextRole::text), size, ImVec2(at.x + ui.px(8), at.y + (ui.px(26) - size) / 2),
               ui.colour(entry.model ? ColourRole::text : ColourRole::dim), name.c_str());
  if (!entry.model) return taken;
  const float small = ui.fonts.size(TextRole::caption, ui.scale);
  const double mark = ui.text.width("model", TextRole::caption);
  list.AddText(ui.fonts.font(TextRole::caption), small,
               ImVec2(at.x + width - ui.px(mark + 10), at.y + (ui.px(26) - small) / 2), ui.colour(accent(browser.slot)),
               "model");
  return taken;
}

/// Up and Down choose an entry while the path field has the keyboard; returns whether the choice moved.
bool take_arrows(Browser& browser) {
  const int step = (ImGui::IsKeyPressed(ImGuiKey_DownArrow) ? 1 : 0) - (ImGui::IsKeyPressed(ImGuiKey_UpArrow) ? 1 : 0);
  if (step == 0 || browser.shown.empty()) return false;
  browser.chosen = std::clamp(browser.chosen + step, 0, static_cast<int>(browser.shown.size()) - 1);
  browser.picked = true;
  return true;
}

void draw_entries(Ui& ui, Browser& browser) {
  const bool moved = take_arrows(browser);
  bool taken = false;
  ImGuiListClipper clipper;
  clipper.Begin(static_cast<int>(browser.shown.size()), ui.px(26));
  if (moved) clipper.IncludeItemByIndex(browser.chosen);
  while (clipper.Step()) {
    for (int i = clipper.DisplayStart; i < clipper.DisplayEnd; ++i) {
      taken |= draw_entry(ui, browser, browser.entries[browser.shown[static_cast<size_t>(i)]], i);
      if (moved && i == browser.chosen) ImGui::SetScrollHereY(0.5f);
    }
  }
  // With the keyboard in the path field, Enter comes from there.
  const bool enter = !ui.typing && browser.picked && ImGui::IsKeyPressed(ImGuiKey_Enter);
  if (taken || enter) take_chosen(ui, browser);
}

/// Enter in the path field: what is chosen below, or what the whole path names.
void take_path(Ui& ui, Browser& browser) {
  std::error_code ignored;
  const fs::path typed = typed_path(browser);
  const bool other = fs::exists(typed, ignored) && !fs::equivalent(typed, browser.folder, ignored);
  if (browser.chosen >= 0 && (browser.picked || !other)) return take_chosen(ui, browser);
  if (!fs::exists(typed, ignored)) {
    browser.problem = fmt::format("There is nothing at {}.", quoted_path(typed));
    browser.at_end = true;  // to be typed on
    return;
  }
  const bool folder = fs::is_directory(typed, ignored);
  take(ui, browser, folder ? (typed / "").parent_path() : typed, !folder || is_model(typed, true));
}

void draw_path_field(Ui& ui, Browser& browser) {
  if (ImGui::Button("Up")) go_to(browser, browser.folder.parent_path());
  ui.regions.add_last_item("browser/up");
  explain(ui, "The folder above.");
  ImGui::SameLine();
  if (browser.opened_now || browser.at_end) ImGui::SetKeyboardFocusHere();
  ImGui::SetNextItemWidth(-FLT_MIN);
  const bool entered = ImGui::InputText("##path", &browser.text,
                                        ImGuiInputTextFlags_EnterReturnsTrue | ImGuiInputTextFlags_CallbackAlways,
                                        cursor_to_end, &browser.at_end);
  ui.regions.add_last_item("browser/path");
  if (ImGui::IsItemEdited()) follow_typed_path(browser);
  if (entered) take_path(ui, browser);
}

void draw_inside(Ui& ui, Browser& browser) {
  {
    const auto font = ui.font(TextRole::label);
    ImGui::Text("Open a model in slot %s", std::string(slot_name(browser.slot)).c_str());
  }
  draw_path_field(ui, browser);
  ImGui::BeginChild("##entries", ImVec2(0, -ui.px(32 + 12)));
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, ImVec2(0, 0));
  if (!browser.problem.empty() || browser.shown.empty()) {
    const char* nothing = browser.entries.empty() ? "No folders and no .h5 files are here."
                                                  : "Nothing here has these letters in its name.";
    ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(browser.problem.empty() ? ColourRole::dim : ColourRole::error));
    ImGui::TextWrapped("%s", browser.problem.empty() ? nothing : browser.problem.c_str());
    ImGui::PopStyleColor();
  }
  draw_entries(ui, browser);
  ImGui::PopStyleVar();
  ImGui::EndChild();
  const bool has_choice = browser.chosen >= 0 && browser.chosen < static_cast<int>(browser.shown.size());
  ImGui::BeginDisabled(!has_choice);
  if (button(ui, "Open", 120, ButtonKind::primary) && has_choice) take_chosen(ui, browser);
  ui.regions.add_last_item("browser/open");
  ImGui::EndDisabled();
  ImGui::SameLine();
  if (button(ui, "Cancel", 120)) browser.open = false;
  ui.regions.add_last_item("browser/cancel");
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

void draw_browser(Ui& ui, Browser& browser) {
  floating_window(ui, "##browser", 640, 480, browser.open, browser.opened_now, [&] { draw_inside(ui, browser); });
}

}  // namespace headscope::gui
