#include "app/gui/panels/window.h"

#include <imgui_internal.h>

#include <cmath>
#include <limits>

#include "app/gui/paint/imgui_misuse.h"
#include "core/base/text.h"
#include "core/views/write.h"
#include "kernels/kernels.h"

namespace headscope::gui {
namespace {

constexpr double bar_height = 44, gap = 12;
constexpr double left_width = 288, right_width = 304, bottom_height = 140;
constexpr double lowest_with_strip = 560;
constexpr double narrow = 1400;  ///< px of width below which the head's panel lies over the middle

constexpr ImGuiWindowFlags scrolling_panel =
    ImGuiWindowFlags_NoTitleBar | ImGuiWindowFlags_NoCollapse | ImGuiWindowFlags_NoMove;
constexpr ImGuiWindowFlags still_panel =
    scrolling_panel | ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse;

/// A docked panel as a card. `draw` is called inside.
template <class Draw>
void panel(Ui& ui, const char* name, double padding, ImGuiWindowFlags flags, const Draw& draw) {
  ImGuiWindowClass calm;
  calm.DockNodeFlagsOverrideSet = ImGuiDockNodeFlags{ImGuiDockNodeFlags_NoTabBar} | ImGuiDockNodeFlags_NoUndocking;
  ImGui::SetNextWindowClass(&calm);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(ui.px(padding), ui.px(padding)));
  ImGui::PushStyleColor(ImGuiCol_WindowBg, IM_COL32(0, 0, 0, 0));
  if (ImGui::Begin(name, nullptr, flags)) {
    panel_background(ui);
    draw();
  }
  ImGui::End();
  ImGui::PopStyleColor();
  ImGui::PopStyleVar();
}

}  // namespace

Window::Window(App& app, Platform& platform) : app_(app), platform_(platform), painter_(fonts_) {
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

/// The panels as the style has them; sizes come from the workspace when it has some.
void Window::lay_out(ImGuiID dock) {
  const bool known = ImGui::DockBuilderGetNode(dock) != nullptr && !relayout_;
  relayout_ = false;
  if (known) return;
  const double s = scale();
  const ImVec2 size(ImGui::GetMainViewport()->Size.x - static_cast<float>(2 * gap * s),
                    ImGui::GetMainViewport()->Size.y - static_cast<float>((bar_height + 2 * gap) * s));
  ImGui::DockBuilderRemoveNode(dock);
  ImGui::DockBuilderAddNode(dock, ImGuiDockNodeFlags_DockSpace);
  ImGui::DockBuilderSetNodeSize(dock, size);
  const auto share = [](double part, float whole) { return std::clamp(static_cast<float>(part) / whole, 0.05f, 0.6f); };
  ImGuiID rest = dock, left = 0, bottom = 0, right = 0;
  left = ImGui::DockBuilderSplitNode(rest, ImGuiDir_Left, share(left_width * s, size.x), nullptr, &rest);
  bottom = ImGui::DockBuilderSplitNode(rest, ImGuiDir_Down, share(bottom_height * s, size.y), nullptr, &rest);
  right = ImGui::DockBuilderSplitNode(
      rest, ImGuiDir_Right, share(right_width * s, size.x - static_cast<float>(left_width * s)), nullptr, &rest);
  ImGui::DockBuilderDockWindow("Model", left);
  ImGui::DockBuilderDockWindow("KV", bottom);
  ImGui::DockBuilderDockWindow("Head", right);
  ImGui::DockBuilderDockWindow("Centre", rest);
  ImGui::DockBuilderFinish(dock);
}

void Window::draw_panels(Ui& ui) {
  const ImVec2 screen = ImGui::GetMainViewport()->Size;
  ImGui::SetNextWindowPos(ImVec2(0, 0));
  ImGui::SetNextWindowSize(ImVec2(screen.x, ui.px(bar_height)));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(ui.px(16), 0));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowMinSize, ImVec2(1, 1));
  ImGui::PushStyleVar(ImGuiStyleVar_FramePadding, ImVec2(ui.px(6), (ui.px(bar_height) - ImGui::GetFontSize()) / 2));
  ImGui::PushStyleColor(ImGuiCol_WindowBg, ui.colour(ColourRole::panel));
  ImGui::PushStyleColor(ImGuiCol_MenuBarBg, ui.colour(ColourRole::panel));
  ImGui::Begin("##bar", nullptr,
               ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_MenuBar | ImGuiWindowFlags_NoMove |
                   ImGuiWindowFlags_NoSavedSettings | ImGuiWindowFlags_NoDocking |
                   ImGuiWindowFlags_NoBringToFrontOnFocus);
  draw_top_bar(ui);
  ImGui::End();
  ImGui::PopStyleColor(2);
  ImGui::PopStyleVar(3);

  ImGui::SetNextWindowPos(ImVec2(ui.px(gap), ui.px(bar_height + gap)));
  ImGui::SetNextWindowSize(ImVec2(screen.x - ui.px(2 * gap), screen.y - ui.px(bar_height + 2 * gap)));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(0, 0));
  ImGui::Begin("##ground", nullptr,
               ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove | ImGuiWindowFlags_NoSavedSettings |
                   ImGuiWindowFlags_NoDocking | ImGuiWindowFlags_NoBackground | ImGuiWindowFlags_NoBringToFrontOnFocus |
                   ImGuiWindowFlags_NoNavFocus);
  const ImGuiID dock = ImGui::GetID("dock");
  lay_out(dock);
  // Dear ImGui draws what parts the panels in the colour of borders.
  ImGui::PushStyleColor(ImGuiCol_Border, ui.colour(ColourRole::window));
  ImGui::PushStyleColor(ImGuiCol_SeparatorHovered, ui.colour(ColourRole::line));
  ImGui::PushStyleColor(ImGuiCol_SeparatorActive, ui.colour(ColourRole::line));
  ImGui::DockSpace(dock, ImVec2(0, 0),
                   ImGuiDockNodeFlags{ImGuiDockNodeFlags_PassthruCentralNode} | ImGuiDockNodeFlags_NoTabBar);
  ImGui::PopStyleColor(3);
  ImGui::End();
  ImGui::PopStyleVar();

  panel(ui, "Model", 16, scrolling_panel, [&] {
    draw_model_panel(ui);
    draw_prompt_panel(ui, prompt_);
  });
  panel(ui, "Centre", 0, still_panel, [&] {
    draw_centre_panel(ui, centre_);
    middle_ = {ImGui::GetWindowPos().x, ImGui::GetWindowPos().y, ImGui::GetWindowSize().x, ImGui::GetWindowSize().y};
  });
  // In a low window the tab has to do.
  const bool strip = screen.y >= ui.px(lowest_with_strip);
  if (strip)
    panel(ui, "KV", 0, still_panel, [&] {
      const ImVec2 room = ImGui::GetContentRegionAvail();
      draw_kv_view(ui, "strip", room.x / ui.scale, room.y / ui.scale);
    });
  const bool wide = is_wide();
  if (wide && app_.state.head_open) panel(ui, "Head", 0, still_panel, [&] { draw_head_panel(ui); });
  if (!wide) draw_head_overlay(ui);
  draw_notes(ui);
}

void Window::draw_head_overlay(Ui& ui) {
  if (!overlay_ || !app_.data().run) return;
  const float width = ui.px(right_width), top = middle_.y + ui.px(44);
  const float height = std::min(ui.px(660), middle_.y + middle_.w - top - ui.px(8));
  ImGui::SetNextWindowPos(ImVec2(middle_.x + middle_.z - width - ui.px(8), top));
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
  if (ImGui::Button("x", ImVec2(ui.px(26), ui.px(26)))) overlay_ = false;
  ui.regions.add_last_item("head/close");
  explain(ui, "Closes this panel.", "Esc");
  ImGui::End();
  ImGui::PopStyleColor(2);
  ImGui::PopStyleVar(2);
}

/// Over the foot of the middle, so that nothing moves.
void Window::draw_notes(Ui& ui) {
  const auto& plates = app_.data().plates;
  if (std::all_of(plates.begin(), plates.end(), [](const Plate& plate) { return plate.error; })) return;
  const double width = std::min(720.0, middle_.z / ui.scale - 24);
  ImGui::SetNextWindowPos(ImVec2(middle_.x + ui.px(12), middle_.y + middle_.w - ui.px(12)), ImGuiCond_Always,
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

void Window::draw_log(Ui& ui) {
  if (!app_.state.log_open) return;
  const ImVec2 screen = ImGui::GetMainViewport()->Size;
  ImGui::SetNextWindowSize(ImVec2(ui.px(680), ui.px(280)), ImGuiCond_FirstUseEver);
  ImGui::SetNextWindowPos(ImVec2(screen.x - ui.px(700), screen.y - ui.px(300)), ImGuiCond_FirstUseEver);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowBorderSize, std::max(1.0f, ui.px(1)));
  ImGui::Begin("Log", &app_.state.log_open, ImGuiWindowFlags_NoDocking | ImGuiWindowFlags_NoSavedSettings);
  ImGui::PopStyleVar();
  std::string facts = fmt::format("HeadScope {}; {}; kernel {}", HEADSCOPE_VERSION, platform_.renderer(),
                                  attention_kernels().back().name);
  draw_log_panel(ui, facts);
  ImGui::End();
}

void Window::draw_about(Ui& ui) {
  if (!about_) return;
  const ImVec2 screen = ImGui::GetMainViewport()->Size;
  ImGui::SetNextWindowPos(ImVec2(screen.x / 2, screen.y / 3), ImGuiCond_Always, ImVec2(0.5f, 0.5f));
  ImGui::Begin("About HeadScope", &about_,
               ImGuiWindowFlags_NoCollapse | ImGuiWindowFlags_AlwaysAutoResize | ImGuiWindowFlags_NoDocking |
                   ImGuiWindowFlags_NoSavedSettings);
  ImGui::Text("HeadScope %s", HEADSCOPE_VERSION);
  ImGui::Text("Kernel %s", std::string(attention_kernels().back().name).c_str());
  ImGui::TextUnformatted(platform_.renderer().c_str());
  ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(ColourRole::dim));
  ImGui::TextUnformatted(
      "It keeps queries, keys and one log-sum-exp a row, and recomputes any part\n"
      "of any attention map when it is looked at.");
  ImGui::PopStyleColor();
  ImGui::End();
}

/// Panels grow with the text.
void Window::scale_panels(double factor) {
  for (const char* name : {"Model", "KV", "Head"}) {
    const ImGuiWindow* window = ImGui::FindWindowByName(name);
    const ImGuiDockNode* node = window == nullptr ? nullptr : ImGui::DockBuilderGetNode(window->DockId);
    if (node == nullptr) continue;
    const ImVec2 size = node->SizeRef;
    const auto scaled = static_cast<float>(factor);
    ImGui::DockBuilderSetNodeSize(node->ID, ImVec2(size.x * scaled, size.y * scaled));
  }
}

/// What belongs to the other model is not shown beside this one.
void Window::follow_slot() {
  if (shown_slot_ == app_.state.active) return;
  shown_slot_ = app_.state.active;
  prompt_.editing = false;
}

void Window::frame() {
  follow_slot();
  const ColourRole own = accent(app_.state.active);
  if (styled_ && styled_->second != scale()) scale_panels(scale() / styled_->second);
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
    draw_log(ui);
    draw_palette(ui, palette_);
    draw_browser(ui, browser_);
    draw_export_field(ui, export_);
    draw_about(ui);
  }
  figures_.drop_unseen();
  under_cursor_ = ui.under_cursor;
  typing_ = ImGui::GetIO().WantTextInput;
  take_shortcuts(ui);
  if (ImGui::GetIO().WantSaveIniSettings) {
    app_.state.docking = ImGui::SaveIniSettingsToMemory();
    ImGui::GetIO().WantSaveIniSettings = false;
  }
  for (const std::string& line : std::exchange(sent_, {})) run(line);
}

void Window::run(const std::string& line) {
  try {
    const Selection before = app_.state.slot().selection;
    run_command(app_, *this, line);
    const Selection& now = app_.state.slot().selection;
    // Whoever picks a head, again perhaps, wants to see its card.
    if (before.layer != now.layer || before.head != now.head || line.starts_with("select layer=")) overlay_ = true;
  } catch (const std::exception& error) {
    app_.log.error(line.substr(0, 200) + ": " + error.what());
    app_.show(app_.state.active, {"This could not be done", error.what(), true, {}, {}});
  }
}

std::optional<ImVec2> Window::find(std::string_view id) const {
  long query = 0, key = 0;
  if (std::sscanf(std::string(id).c_str(), "map/cell/%ld/%ld", &query, &key) == 2) {
    return centre_.place_of(query, key);
  }
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
  const auto figure = figures_.places.find(app_.state.view);
  json["sentence"] = figure == figures_.places.end() ? "" : figure->second.figure.sentence;
  json["title"] = figure == figures_.places.end() ? "" : figure->second.figure.title;
  json["under_cursor"] = under_cursor_;
  json["map_cells"] = {{"shown", centre_.map.shown && app_.state.view == "map"},
                       {"exact", centre_.map.exact},
                       {"updates", centre_.map.updates},
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
  const bool dialog = palette_.open || browser_.open || export_.open || about_ || prompt_.editing;
  if (!dialog && !plates.empty()) {
    app_.dismiss(app_.state.active, plates.size() - 1);
    return true;
  }
  for (bool* open : {&palette_.open, &browser_.open, &export_.open, &about_, &prompt_.editing, &overlay_}) {
    if (std::exchange(*open, false)) return true;
  }
  return false;
}

void Window::copy(const std::string& text) {
  if (text.empty()) return;
  ImGui::SetClipboardText(text.c_str());
  app_.show(app_.state.active, {"Copied", text_.fitted(printable(text, text_), TextRole::text, 520), false, {}, {}});
}

void Window::export_view(const std::string& path) {
  const auto found = figures_.places.find(app_.state.view);
  if (found == figures_.places.end()) fail("There is no view to export yet.");
  write_figure(found->second.figure, path, app_.state.theme, std::clamp(scale(), 1.0, 4.0));
  app_.log.info("wrote " + whole_path(path));
  app_.show(app_.state.active, {"Exported", whole_path(path), false, {}, {}});
}

void Window::ask_export() {
  export_ = {};
  export_.open = export_.opened_now = true;
  export_.path = fmt::format("headscope-{}.svg", app_.state.view);
}

}  // namespace headscope::gui
