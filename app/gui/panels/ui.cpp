#include "app/gui/panels/ui.h"

#include <cctype>
#include <charconv>
#include <utility>

namespace headscope::gui {

const CachedFigure& Ui::figure(const std::string& place, std::string key, const std::function<Figure()>& make) {
  CachedFigure& cached = figures.places[place];
  cached.shown = true;
  if (cached.version == 0 || cached.key != key) {
    cached.figure = made(make);
    cached.key = std::move(key);
    cached.version = ++figures.versions;
  }
  return cached;
}

std::string Ui::data_key() const {
  const SlotData& data = app.data();
  return fmt::format("{} model {} run {} of {} tokens", slot_name(app.state.active), data.model_number,
                     data.run ? data.run->id : 0, data.tokens());
}

Figure Ui::made(const std::function<Figure()>& make) const {
  try {
    return make();
  } catch (const std::exception& error) {
    Figure problem;
    problem.sentence = error.what();
    problem.width = problem.height = 1;
    app.log.error(fmt::format("a view could not be drawn: {}", error.what()));
    return problem;
  }
}

void FigureCache::drop_unseen() {
  std::erase_if(places, [](const auto& entry) { return !entry.second.shown; });
  for (auto& [name, cached] : places) cached.shown = false;
}

std::vector<int64_t> numbers_of(std::string_view id, std::string_view prefix) {
  if (!id.starts_with(prefix)) return {};
  std::vector<int64_t> numbers;
  const char *at = id.data() + prefix.size(), *last = id.data() + id.size();
  for (;;) {
    int64_t number = 0;
    const auto [end, error] = std::from_chars(at, last, number);
    if (error != std::errc()) return {};
    numbers.push_back(number);
    if (end == last) return numbers;
    if (*end != '/') return {};
    at = end + 1;
  }
}

FigureInput show_figure(Ui& ui, const CachedFigure& cached, const char* place, bool takes_wheel) {
  const Figure& figure = cached.figure;
  FigureInput input;
  input.origin = ImGui::GetCursorScreenPos();
  const ImVec2 size(std::max(1.0f, ui.px(figure.width)), std::max(1.0f, ui.px(figure.height)));
  ImGui::SetNextItemAllowOverlap();
  ImGui::InvisibleButton(fmt::format("figure/{}", place).c_str(), size);
  if (takes_wheel) ImGui::SetItemKeyOwner(ImGuiKey_MouseWheelY);
  const bool active = ImGui::IsItemActive();
  input.hovered =
      ImGui::IsItemHovered(ImGuiHoveredFlags_AllowWhenBlockedByActiveItem) && (active || !ImGui::IsAnyItemActive());
  input.held = active;
  const ImVec2 mouse = ImGui::GetMousePos();
  input.mouse = {(mouse.x - input.origin.x) / ui.scale, (mouse.y - input.origin.y) / ui.scale};
  if (input.hovered) input.hit = hit_at(figure, input.mouse, ui.text);
  const ImVec2 dragged = ImGui::GetIO().MouseDragMaxDistanceAbs[0];
  const float threshold = ImGui::GetIO().MouseDragThreshold;
  input.clicked = ImGui::IsItemDeactivated() && input.hovered && dragged.x < threshold && dragged.y < threshold;
  input.double_clicked = input.hovered && ImGui::IsMouseDoubleClicked(ImGuiMouseButton_Left);
  ui.painter.paint(figure, place, cached.version, *ImGui::GetWindowDrawList(), input.origin, ui.scale, ui.theme,
                   figure.background == ColourRole::panel);  // as panels are
  ui.regions.add_figure(figure, input.origin, ui.scale);
  return input;
}

void fill_on_click(Ui& ui, const FigureInput& input) {
  const SlotData& data = ui.app.data();
  if (data.run || !input.hovered) return;
  ImGui::SetMouseCursor(ImGuiMouseCursor_Hand);
  if (input.clicked) ui.send(data.model ? "run" : "open");
}

namespace {

/// The first line is the brightest.
void draw_lines(Ui& ui, std::string_view lines, bool numbers) {
  const auto font = ui.font(numbers ? TextRole::number : TextRole::caption);
  double opacity = 1;
  ImGui::PushTextWrapPos(ui.px(420));
  while (!lines.empty()) {
    const size_t end = lines.find('\n');
    const std::string_view line = lines.substr(0, end);
    ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(ColourRole::plate_text, opacity));
    ImGui::TextUnformatted(line.data(), line.data() + line.size());
    ImGui::PopStyleColor();
    opacity = 0.78;
    lines = end == std::string_view::npos ? std::string_view() : lines.substr(end + 1);
  }
  ImGui::PopTextWrapPos();
}

}  // namespace

void tooltip(Ui& ui, std::string_view lines, bool numbers) {
  if (lines.empty()) return;
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(ui.px(10), ui.px(8)));
  ImGui::PushStyleColor(ImGuiCol_PopupBg, ui.colour(ColourRole::plate, 0.96));
  if (ImGui::BeginTooltip()) {
    draw_lines(ui, lines, numbers);
    ImGui::EndTooltip();
  }
  ImGui::PopStyleColor();
  ImGui::PopStyleVar();
}

bool close_button(Ui& ui, const char* region) {
  const bool clicked = ImGui::Button("x", ImVec2(ui.px(26), ui.px(26)));
  ui.regions.add_last_item(region);
  explain(ui, "Closes this panel.", "Esc");
  return clicked;
}

void explain(Ui& ui, std::string_view what, std::string_view shortcut) {
  if (ui.typing) return;  // it would cover the text
  if (!ImGui::IsItemHovered(ImGuiHoveredFlags_AllowWhenDisabled | ImGuiHoveredFlags_DelayShort)) return;
  tooltip(ui, shortcut.empty() ? std::string(what) : fmt::format("{}\n{}", what, shortcut));
}

int cursor_to_end(ImGuiInputTextCallbackData* data) {
  auto& wanted = *static_cast<bool*>(data->UserData);
  if (std::exchange(wanted, false)) data->CursorPos = data->SelectionStart = data->SelectionEnd = data->BufTextLen;
  return 0;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool button(Ui& ui, const char* label, double width, ButtonKind kind) {
  const ColourRole accented = accent(ui.app.state.active);
  int colours = 0;
  const auto push = [&](ImGuiCol target, ImU32 colour) {
    ImGui::PushStyleColor(target, colour);
    ++colours;
  };
  if (kind == ButtonKind::primary) {
    push(ImGuiCol_Button, ui.colour(accented));
    push(ImGuiCol_ButtonHovered, ui.colour(accented, 0.88));
    push(ImGuiCol_ButtonActive, ui.colour(accented, 0.76));
    push(ImGuiCol_Text, ui.colour(ColourRole::panel));
  } else if (kind == ButtonKind::toggle_on) {
    push(ImGuiCol_Button, ui.colour(accented, 0.22));
    push(ImGuiCol_ButtonHovered, ui.colour(accented, 0.3));
    push(ImGuiCol_Border, ui.colour(accented));
  }
  const bool pressed = ImGui::Button(label, ImVec2(ui.px(width), ui.px(32)));
  ImGui::PopStyleColor(colours);
  return pressed;
}

bool command_button(Ui& ui, const char* label, const std::string& line, double width, ButtonKind kind) {
  const std::string id = parse_call(line).id;
  const Command& command = find_command(id);
  const std::string reason = command.disabled(ui.app);
  ImGui::BeginDisabled(!reason.empty());
  const bool pressed = button(ui, label, width, kind);
  ImGui::EndDisabled();
  ui.regions.add_last_item(id);
  explain(ui, reason.empty() ? command.help : std::string_view(reason), command.shortcut);
  if (pressed) ui.send(line);
  return pressed;
}

void floating_window(Ui& ui, const char* id, double width, double height, bool& open, bool& opened_now,
                     const std::function<void()>& draw) {
  if (!open) return;
  const ImVec2 screen = ImGui::GetMainViewport()->Size;
  const ImVec2 size(std::min(ui.px(width), screen.x - ui.px(32)), std::min(ui.px(height), screen.y - ui.px(96)));
  ImGui::SetNextWindowPos(ImVec2((screen.x - size.x) / 2, ui.px(64)));
  ImGui::SetNextWindowSize(size);
  if (opened_now) ImGui::SetNextWindowFocus();
  ImGui::PushStyleColor(ImGuiCol_WindowBg, ui.colour(ColourRole::panel));
  ImGui::PushStyleColor(ImGuiCol_Border, ui.colour(ColourRole::line));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowBorderSize, std::max(1.0f, ui.px(1)));
  ImGui::Begin(id, nullptr,
               ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove | ImGuiWindowFlags_NoSavedSettings |
                   ImGuiWindowFlags_NoDocking);
  draw();
  const bool away = !opened_now && !ImGui::IsWindowFocused(ImGuiFocusedFlags_RootAndChildWindows);
  ImGui::End();
  ImGui::PopStyleVar();
  ImGui::PopStyleColor(2);
  if (away) open = false;
  opened_now = false;
}

void panel_background(Ui& ui) {
  const ImVec2 min = ImGui::GetWindowPos(), size = ImGui::GetWindowSize();
  ImGui::GetWindowDrawList()->AddRectFilled(min, ImVec2(min.x + size.x, min.y + size.y), ui.colour(ColourRole::panel),
                                            ui.px(5));
}

}  // namespace headscope::gui
