#include "app/gui/panels/panels.h"
#include "core/views/views.h"

namespace headscope::gui {
namespace {

void draw_tab(Ui& ui, const ViewInfo& view) {
  const std::string_view title = view.title, name = view.name;
  const bool chosen = ui.app.state.view == name;
  const TextRole role = chosen ? TextRole::label : TextRole::text;
  const double text = ui.text.width(title, TextRole::label), width = text + 32;
  const ImVec2 at = ImGui::GetCursorScreenPos();
  const std::string id = fmt::format("tab/{}", name);
  if (ImGui::InvisibleButton(id.c_str(), ImVec2(ui.px(width), ui.px(32)))) ui.send(fmt::format("view {}", name));
  ui.regions.add_last_item(id);
  const bool hovered = ImGui::IsItemHovered();
  explain(ui, view.description, find_command(fmt::format("view_{}", name)).shortcut);
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const float size = ui.fonts.size(role, ui.scale);
  list.AddText(ui.fonts.font(role), size,
               ImVec2(at.x + ui.px((width - ui.text.width(title, role)) / 2), at.y + (ui.px(32) - size) / 2),
               ui.colour(chosen || hovered ? ColourRole::text : ColourRole::dim), title.data(),
               title.data() + title.size());
  if (chosen) {
    list.AddRectFilled(ImVec2(at.x + ui.px(12), at.y + ui.px(30)), ImVec2(at.x + ui.px(width - 12), at.y + ui.px(32)),
                       ui.colour(accent(ui.app.state.active)));
  }
  ImGui::SameLine(0, 0);
}

constexpr HeadMetric metrics[] = {HeadMetric::entropy, HeadMetric::distance, HeadMetric::sink, HeadMetric::max};
constexpr const char* metric_names[] = {"entropy", "distance", "sink", "max"};
constexpr const char* metric_meanings[] = {"Mean entropy of the rows: low is sharp.",
                                           "How far back the rows look on average, in tokens.",
                                           "Mean weight on the first token.", "Mean largest weight of a row."};

void draw_metric_choice(Ui& ui, double right) {
  double width = 0;
  for (const char* name : metric_names) width += ui.text.width(name, TextRole::caption) + 20;
  ImGui::SameLine(ui.px(right - width));
  const float top = ImGui::GetCursorPosY() + ui.px(4);  // centred on the tabs
  const auto font = ui.font(TextRole::caption);
  for (size_t i = 0; i < std::size(metrics); ++i) {
    ImGui::SetCursorPosY(top);
    const bool chosen = ui.app.state.atlas.metric == metrics[i];
    const double text = ui.text.width(metric_names[i], TextRole::caption);
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const std::string id = fmt::format("metric/{}", metric_names[i]);
    const ImVec2 size(ui.px(text + 16), ui.px(24));
    if (ImGui::InvisibleButton(id.c_str(), size)) ui.send(fmt::format("metric {}", metric_names[i]));
    ui.regions.add_last_item(id);
    ImDrawList& list = *ImGui::GetWindowDrawList();
    const ImVec2 end(at.x + size.x, at.y + size.y);
    const ColourRole own = accent(ui.app.state.active);
    list.AddRectFilled(at, end,
                       chosen ? ui.colour(own, 0.2) : ui.colour(ColourRole::raised, ImGui::IsItemHovered() ? 1 : 0.6),
                       ui.px(4));
    if (chosen) list.AddRect(at, end, ui.colour(own), ui.px(4), ui.px(1));
    const float height = ui.fonts.size(TextRole::caption, ui.scale);
    list.AddText(ui.fonts.font(TextRole::caption), height, ImVec2(at.x + ui.px(8), at.y + (size.y - height) / 2),
                 ui.colour(chosen ? ColourRole::text : ColourRole::dim), metric_names[i]);
    explain(ui, fmt::format("The number under each map.\n{}", metric_meanings[i]));
    ImGui::SameLine(0, ui.px(4));
  }
}

/// Rows and columns scroll where not all heads fit.
void scroll_atlas(Ui& ui, CentrePanel& panel, AtlasState& state) {
  const ImGuiIO& io = ImGui::GetIO();
  const auto step = [&](double& rest, float wheel, int64_t& first, int64_t most) {
    rest += wheel;
    const auto whole = static_cast<int64_t>(rest);
    rest -= static_cast<double>(whole);
    first = std::clamp<int64_t>(first - whole, 0, std::max<int64_t>(0, most));
  };
  const Architecture& architecture = *ui.app.data().model->architecture();
  int64_t heads = 0;
  for (const Layer& layer : architecture.layers) heads = std::max(heads, layer.q_heads);
  if (io.KeyShift) {
    step(panel.wheel, io.MouseWheel, state.first_head, heads - 1);
  } else {
    step(panel.wheel, io.MouseWheel, state.first_layer, architecture.layer_count() - 1);
  }
}

void draw_atlas_view(Ui& ui, CentrePanel& panel, double width, double height) {
  const SlotData& data = ui.app.data();
  const Selection& selection = ui.app.state.slot().selection;
  const AtlasState& state = ui.app.state.atlas;
  const std::string key =
      fmt::format("{} {} {} {} {} {} {}x{}", ui.data_key(), static_cast<int>(state.metric), state.first_layer,
                  state.first_head, selection.layer.value_or(-1), selection.head.value_or(-1), width, height);
  const CachedFigure& cached = ui.figure("atlas", key, [&] {
    AtlasData nothing;
    nothing.facts = facts_of(ui.app);
    return atlas(data.run ? *data.run->atlas : nothing, state, selection, Layout{width, height, ui.scale, ui.text},
                 &panel.thumbnails);
  });
  const FigureInput input = show_figure(ui, cached, "atlas");
  fill_on_click(ui, input);
  if (input.hovered && ImGui::GetIO().MouseWheel != 0 && data.run) scroll_atlas(ui, panel, ui.app.state.atlas);
  if (!input.hit) return;
  tooltip(ui, input.hit->tooltip, true);
  ui.under_cursor = input.hit->tooltip;
  const auto place = numbers_of(input.hit->id, "atlas/");
  if (place.size() != 2) return;
  if (const Primitive* cell = find_hit(cached.figure, input.hit->id)) {
    const Box box = bounds(*cell, ui.text);
    ImGui::GetWindowDrawList()->AddRect(
        ImVec2(input.origin.x + ui.px(box.x) - 1, input.origin.y + ui.px(box.y) - 1),
        ImVec2(input.origin.x + ui.px(box.right()) + 1, input.origin.y + ui.px(box.bottom()) + 1),
        ui.colour(ColourRole::selection, 0.8), 0.0f, 1.0f);
  }
  if (input.clicked) ui.send(fmt::format("select layer={} head={}", place[0], place[1]));
  if (input.double_clicked) ui.send("view_map");
}

void draw_view(Ui& ui, CentrePanel& panel, double width, double height) {
  if (ui.app.state.view != "map") panel.dragging = false;
  if (ui.app.state.view == "atlas") return draw_atlas_view(ui, panel, width, height);
  if (ui.app.state.view == "map") return draw_map_view(ui, panel, width, height);
  draw_kv_view(ui, "kv", width, height);
}

}  // namespace

void draw_centre_panel(Ui& ui, CentrePanel& panel) {
  const double width = ImGui::GetContentRegionAvail().x / ui.scale;
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, ImVec2(0, ui.px(4)));
  ImGui::Dummy(ImVec2(0, ui.px(4)));
  ImGui::SetCursorPosX(ui.px(4));
  for (const ViewInfo& view : views()) {
    if (view.tab) draw_tab(ui, view);
  }
  if (ui.app.state.view == "atlas" && ui.app.data().run && width > 560) draw_metric_choice(ui, width - 12);
  ImGui::NewLine();
  ImGui::PopStyleVar();
  const auto& plates = ui.app.data().plates;
  if (std::any_of(plates.begin(), plates.end(), [](const Plate& plate) { return plate.error; })) {
    ImGui::SetCursorPosX(ui.px(12));
    ImGui::BeginGroup();
    draw_errors(ui, width - 24);
    ImGui::EndGroup();
  }
  const ImVec2 room = ImGui::GetContentRegionAvail();
  const double height = room.y / ui.scale;
  if (room.x > 40 && room.y > 40) draw_view(ui, panel, width, height);
}

}  // namespace headscope::gui
