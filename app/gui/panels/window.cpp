#include "app/gui/panels/window.h"

#include <imgui_internal.h>

#include <cmath>
#include <limits>

#include "app/gui/paint/imgui_misuse.h"
#include "app/gui/panels/dock.h"
#include "core/base/text.h"
#include "core/views/write.h"

namespace headscope::gui {
namespace {

constexpr double lowest_with_strip = 560;  // px of height
constexpr double narrow = 1400;            // px of width below which the head's panel lies over the middle

}  // namespace

Window::Window(App& app, Platform& platform)
    : app_(app),
      platform_(platform),
      painter_(fonts_),
      facts_{HEADSCOPE_VERSION, std::string(app.device().title()), std::string(app.device().kernels().back().name),
             platform.renderer()} {
  platform_.on_drop = [this](const std::vector<std::string>& paths) {
    try {
      app_.drop(paths);
    } catch (const std::exception& error) {
      app_.show(app_.state.active, {"What was dropped could not be opened", error.what(), true, {}, {}});
    }
  };
  if (!app_.state.docking.empty()) {
    ImGui::LoadIniSettingsFromMemory(app_.state.docking.c_str(), app_.state.docking.size());
  }
}

Window::~Window() { platform_.on_drop = {}; }

double Window::scale() const { return platform_.content_scale() * app_.state.font_scale; }

Rgb Window::background() const { return colour(ColourRole::window, app_.state.theme); }

Ui Window::make_ui() {
  return Ui{app_, fonts_, painter_, text_, regions_, figures_, sent_, scale(), app_.state.theme, {}, typing_};
}

void Window::draw_panels(Ui& ui) {
  device_.map_kernel = app_.state.view == "map" && centre_.map.shown ? centre_.map.kernel : "";
  draw_top_bar(ui, device_);
  draw_dock(ui, std::exchange(relayout_, false));
  docked_panel(ui, "Model", 16, false, [&] {
    draw_model_panel(ui);
    draw_prompt_panel(ui, prompt_);
  });
  Middle middle;
  docked_panel(ui, "Centre", 0, true, [&] {
    draw_centre_panel(ui, centre_);
    middle = {ImGui::GetWindowPos(), ImGui::GetWindowSize()};
  });
  // In a low window the tab has to do, and beside the tab the strip would say the same again.
  const bool low = ImGui::GetMainViewport()->Size.y < ui.px(lowest_with_strip);
  if (!low && app_.state.view != "kv") {
    docked_panel(ui, "KV", 0, true, [&] {
      const ImVec2 room = ImGui::GetContentRegionAvail();
      draw_kv_view(ui, "strip", room.x / ui.scale, room.y / ui.scale);
    });
  }
  if (!is_wide()) {
    draw_head_overlay(ui, middle, overlay_);
  } else if (app_.state.head_open) {
    docked_panel(ui, "Head", 0, true, [&] { draw_head_panel(ui); });
  }
  draw_notes(ui, middle);
  draw_device_panel(ui, device_);
  draw_log_window(ui, facts_, app_.state.log_open);
  draw_palette(ui, palette_);
  draw_browser(ui, browser_);
  draw_export_field(ui, export_);
  draw_about(ui, facts_, about_);
}

/// What belongs to the other model is not shown beside this one.
void Window::follow_slot() {
  const std::pair now(app_.state.active, app_.data().model_number);
  if (std::exchange(shown_model_, now) != now) prompt_.editing = false;
}

void Window::frame() {
  follow_slot();
  const ColourRole own = accent(app_.state.active);
  if (styled_ && styled_->second != scale()) scale_docked_panels(scale() / styled_->second);
  if (!styled_ || *styled_ != std::pair(app_.state.theme, scale()) || styled_accent_ != own) {
    styled_ = {app_.state.theme, scale()};
    styled_accent_ = own;
    apply_style(app_.state.theme, scale(), own);
    figures_.places.clear();
  }
  regions_.clear();
  Ui ui = make_ui();
  {
    const auto font = ui.font(TextRole::text);
    draw_panels(ui);
  }
  figures_.drop_unseen();
  under_cursor_ = ui.under_cursor;
  typing_ = ImGui::GetIO().WantTextInput;
  take_shortcuts();
  if (ImGui::GetIO().WantSaveIniSettings) {
    app_.state.docking = ImGui::SaveIniSettingsToMemory();
    ImGui::GetIO().WantSaveIniSettings = false;
  }
  for (const std::string& line : std::exchange(sent_, {})) run(line);
}

void Window::run(const std::string& line) {
  try {
    const ModelSlot slot = app_.state.active;
    const Selection before = app_.state.slot().selection;
    run_command(app_, *this, line);
    const Selection& now = app_.state.slot().selection;
    const bool other = slot == app_.state.active && (before.layer != now.layer || before.head != now.head);
    // Whoever picks a head, again perhaps, wants to see its card.
    if (other || line.starts_with("select layer=")) overlay_ = true;
  } catch (const std::exception& error) {
    app_.log.error(line.substr(0, 200) + ": " + error.what());
    app_.show(app_.state.active, {"This could not be done", error.what(), true, {}, {}});
  }
}

std::optional<ImVec2> Window::find(std::string_view id) const {
  const auto cell = numbers_of(id, "map/cell/");
  if (cell.size() == 2) return centre_.place_of(cell[0], cell[1]);
  return regions_.find(id, text_);
}

double Window::next_wake() const {
  if (app_.status().busy) return 0.1;                                           // progress
  if (ImGui::GetIO().WantTextInput) return 0.4;                                 // caret
  if (GImGui->HoveredIdTimer > 0 && GImGui->HoveredIdTimer < 0.5f) return 0.1;  // a tooltip that waits
  return std::numeric_limits<double>::infinity();
}

Json Window::summary() const {
  Json json = gui::summary(app_);
  json["palette"] = palette_.open;
  json["browser"] = browser_.open;
  json["browser_problem"] = browser_.open ? browser_.problem : "";
  json["editing"] = prompt_.editing;
  json["overlay"] = overlay_;
  json["device"]["open"] = device_.open;
  const auto figure = figures_.places.find(app_.state.view);
  json["sentence"] = figure == figures_.places.end() ? "" : figure->second.figure.sentence;
  json["title"] = figure == figures_.places.end() ? "" : figure->second.figure.title;
  json["under_cursor"] = under_cursor_;
  json["map_cells"] = {{"shown", centre_.map.shown && app_.state.view == "map"},
                       {"exact", centre_.map.exact},
                       {"updates", centre_.map.updates},
                       {"kernel", centre_.map.kernel},
                       {"bin", centre_.map.bin}};
  json["imgui_misuse"] = imgui_misuse().first;
  json["size"] = {{"width", platform_.width()}, {"height", platform_.height()}};
  json["texture_bytes"] = painter_.texture_bytes();
  json["tile_bytes"] = app_.tiles().bytes();
  return json;
}

void Window::show_palette() {
  palette_ = {};
  palette_.open = palette_.opened_now = true;
}

void Window::show_browser(ModelSlot slot) { open_browser(browser_, slot, app_.state.folder); }

void Window::edit_prompt() {
  prompt_.editing = prompt_.focus = prompt_.cursor_to_end = true;
  prompt_.was_active = false;
  prompt_.draft = app_.state.slot().prompt;
}

bool Window::is_wide() const { return ImGui::GetMainViewport()->Size.x >= narrow * platform_.content_scale(); }

void Window::toggle_head() {
  bool& shown = is_wide() ? app_.state.head_open : overlay_;
  shown = !shown;
}

void Window::reset_layout() { relayout_ = true; }

bool Window::step_back() {
  if (ImGui::IsPopupOpen(nullptr, ImGuiPopupFlags_AnyPopup)) {  // a menu
    ImGui::ClosePopupToLevel(0, true);
    return true;
  }
  const auto& plates = app_.data().plates;
  const bool dialog = palette_.open || browser_.open || export_.open || about_ || device_.open || prompt_.editing;
  if (!dialog && !plates.empty()) {
    app_.dismiss(app_.state.active, plates.size() - 1);
    return true;
  }
  for (bool* open :
       {&palette_.open, &browser_.open, &export_.open, &about_, &prompt_.editing, &device_.open, &overlay_}) {
    if (std::exchange(*open, false)) return true;
  }
  return false;
}

void Window::copy(const std::string& text) {
  if (text.empty()) return;
  ImGui::SetClipboardText(text.c_str());
  app_.show(app_.state.active, {"Copied", text_.fitted(printable(text, text_), TextRole::text, 520), false, {}, {}});
}

std::pair<int64_t, int64_t> Window::view_size() const {
  const auto found = figures_.places.find(app_.state.view);
  if (found == figures_.places.end()) return {0, 0};
  return {std::lround(found->second.figure.width), std::lround(found->second.figure.height)};
}

void Window::export_view(const std::string& path) {
  const auto found = figures_.places.find(app_.state.view);
  if (found == figures_.places.end()) fail("There is no view to export yet.");
  const bool coarse = app_.state.view == "map" && centre_.map.shown && !centre_.map.exact;
  if (coarse && path.ends_with(".csv")) {
    fail("The map is still coarse, so its numbers are not exact yet; export it again in a moment.");
  }
  write_figure(found->second.figure, path, app_.state.theme, std::clamp(scale(), 1.0, 4.0));
  exported_ = path;
  app_.log.info("wrote " + whole_path(path));
  app_.show(app_.state.active, {"Exported", whole_path(path), false, {}, {}});
}

void Window::ask_export() {
  export_ = {};
  export_.open = export_.opened_now = true;
  const std::filesystem::path last = exported_;  // the next one goes beside it
  const std::string ending = last.has_extension() ? last.extension().string() : ".svg";
  export_.path = (last.parent_path() / fmt::format("headscope-{}{}", app_.state.view, ending)).string();
}

}  // namespace headscope::gui
