#include <cmath>

#include "app/gui/panels/panels.h"
#include "core/views/map_reading.h"
#include "core/views/plot/legend.h"
#include "core/views/run_data.h"

namespace headscope::gui {
namespace {

constexpr int64_t fewest_tokens = 4;  ///< that the deepest zoom shows

/// [begin, end) moved and cut so that it lies within the run and has between the fewest and all tokens.
std::pair<int64_t, int64_t> within(double begin, double length, int64_t tokens) {
  const auto count = std::clamp<int64_t>(std::lround(length), std::min(fewest_tokens, tokens), tokens);
  const auto first = std::clamp<int64_t>(std::lround(begin), 0, tokens - count);
  return {first, first + count};
}

MapData nothing_to_show(const App& app) {
  MapData data;
  data.facts = facts_of(app);
  return data;
}

/// Its weight and score, or why they are not there.
std::string cell_numbers(Ui& ui, const RunView& view, const Selection& head, const MapCellAt& cell) {
  try {
    const MapQueries queries = ui.app.tiles().queries(view.snapshot, view.id, *head.layer, cell.query + 1);
    if (queries.failed) return "the weight is not known: queries of this layer could not be made again";
    if (!queries.rows) return "the weight is still to come: queries of this layer are being made again";
    const ScoredWeight exact =
        score_and_weight(*view.snapshot, *queries.rows, *head.layer, *head.head, cell.query, cell.key);
    return fmt::format("weight {}   score {:.2f}", weight_text(exact.weight), exact.score);
  } catch (const std::exception& error) {  // of a GPU that failed
    return error.what();
  }
}

/// "“dog” looks at “Lily”", its weight and score, and where it is.
std::string cell_text(Ui& ui, const RunView& view, const Selection& head, const MapCellAt& cell) {
  const RunSnapshot& run = *view.snapshot;
  const auto name = [&](int64_t token) {
    return token_label(static_cast<size_t>(token) < run.pieces.size() ? run.pieces[static_cast<size_t>(token)] : "",
                       ui.text);
  };
  if (cell.key > cell.query) {
    return fmt::format("key {} comes after query {}\na causal model cannot look ahead", cell.key, cell.query);
  }
  const std::string numbers = cell_numbers(ui, view, head, cell);
  std::string text = fmt::format("\u201C{}\u201D looks at \u201C{}\u201D\n{}\nquery {}, key {}; tokens are 0 to {}",
                                 name(cell.query), name(cell.key), numbers, cell.query, cell.key, run.tokens() - 1);
  if (cell.bin > 1) {
    text += fmt::format("\nthis cell: {} x {} tokens, largest weight {}", cell.bin, cell.bin,
                        weight_text(static_cast<double>(cell.largest)));
  }
  return text;
}

void zoom_at(MapState& state, const MapCellAt& at, double notches, int64_t tokens) {
  const double factor = std::pow(0.8, notches);
  const auto zoom = [&](int64_t& begin, int64_t& end, double anchor) {
    const double length = static_cast<double>(end - begin);
    const double share = (anchor - static_cast<double>(begin)) / length;
    double wanted =
        std::clamp(length * factor, static_cast<double>(std::min(fewest_tokens, tokens)), static_cast<double>(tokens));
    if (std::lround(wanted) == end - begin && factor != 1) wanted = length + (factor < 1 ? -1 : 1);
    std::tie(begin, end) = within(anchor - share * wanted, wanted, tokens);
  };
  zoom(state.row_begin, state.row_end, at.query_exact);
  zoom(state.key_begin, state.key_end, at.key_exact);
}

void pan_to(MapState& state, const MapState& from, double rows, double keys, int64_t tokens) {
  std::tie(state.row_begin, state.row_end) =
      within(static_cast<double>(from.row_begin) + rows, static_cast<double>(from.row_end - from.row_begin), tokens);
  std::tie(state.key_begin, state.key_end) =
      within(static_cast<double>(from.key_begin) + keys, static_cast<double>(from.key_end - from.key_begin), tokens);
}

void note_cells(MapPlace& place, const MapRegion& region, uint64_t run, const ComposedMap& composed) {
  const bool same = place.run == run && place.region == region;
  place.updates = same ? place.updates + (place.version == composed.version ? 0 : 1) : 1;
  place.run = run;
  place.region = region;
  place.version = composed.version;
  place.exact = composed.exact;
  place.kernel = composed.kernel;
}

/// Why there is no map.
const CachedFigure& empty_map(Ui& ui, const Layout& layout) {
  const App& app = ui.app;
  const bool has_run = app.data().run != nullptr;
  const std::string key = fmt::format("empty {} {} {} {}", ui.data_key(), has_run, layout.width, layout.height);
  return ui.figure("map", key, [&] {
    if (!has_run) return map(nothing_to_show(app), {}, {}, layout);
    return empty_figure("Attention map", "Shows which token looks at which, for one head.", "No head is selected.",
                        "Click a head in the atlas.", app.state.active, layout);
  });
}

/// Makes the figure again when tiles, window or selection have changed.
const CachedFigure& map_figure(Ui& ui, CentrePanel& panel, double width, double height) {
  App& app = ui.app;
  const SlotData& data = app.data();
  const Selection& selection = app.state.slot().selection;
  const Layout layout{width, height, ui.scale, ui.text};
  panel.map.shown = false;
  if (!data.run || !has_head(*data.model->architecture(), selection)) return empty_map(ui, layout);
  const MapState state = window_within(app.state.map, data.tokens());
  const MapWindow window{*selection.layer, *selection.head, state.row_begin,
                         state.row_end,    state.key_begin, state.key_end};
  constexpr int64_t most_pixels = 4000;  // a side, so that a region has no more cells than tiles can give
  const auto pixels = std::clamp<int64_t>(std::lround(std::min(width, height) * ui.scale), 64, most_pixels);
  const MapRegion region = map_region(window, data.tokens(), pixels);
  const ComposedMap composed = app.tiles().region(data.run->snapshot, data.run->id, region);
  const std::string key = fmt::format(
      "{} {} {} {} {} {} {} {} {} {} {} {} {}", data.run->id, data.tokens(), composed.version, *selection.layer,
      *selection.head, state.row_begin, state.row_end, state.key_begin, state.key_end, selection.query.value_or(-1),
      selection.key.value_or(-1), fmt::format("{}x{}", width, height), state.log_colour);
  const CachedFigure& cached = ui.figure("map", key, [&] {
    MapData map_data = headscope::map_data(data.run->snapshot, region, composed);
    map_data.facts.slot = app.state.active;
    const ShownMap shown = shown_map(map_data, state);
    panel.map.window = {shown.row_begin, shown.row_end, shown.key_begin, shown.key_end};
    panel.map.bin = shown.bin;
    panel.map.cells = shown.cells;
    if (!composed.exact) {
      map_data.facts.badges.push_back(composed.failed ? "coarse, exact tiles could not be computed"
                                                      : "coarse, exact tiles are coming");
    }
    return map(map_data, state, selection, layout);
  });
  if (const Primitive* cells = find_hit(cached.figure, "map/cell")) {
    panel.map.box = bounds(*cells, ui.text);
    panel.map.shown = true;
    note_cells(panel.map, region, data.run->id, composed);
  }
  return cached;
}

/// Dragging moves the map; with Shift it draws a frame that is zoomed to.
void use_drag(Ui& ui, CentrePanel& panel, const FigureInput& input, bool moved) {
  const int64_t tokens = ui.app.data().tokens();
  MapState& state = ui.app.state.map;
  const MapPlace& place = panel.map;
  if (input.held && ImGui::IsMouseClicked(ImGuiMouseButton_Left) && place.box.contains(input.mouse)) {
    panel.drag_state = window_within(state, tokens);
    panel.drag_from = input.mouse;
    panel.dragging = true;
    panel.selecting = ImGui::GetIO().KeyShift;
  }
  if (panel.dragging && moved && !panel.selecting) {
    const double pitch = place.pitch();
    pan_to(state, panel.drag_state, (panel.drag_from.y - input.mouse.y) / pitch,
           (panel.drag_from.x - input.mouse.x) / pitch, tokens);
  }
  if (panel.dragging && moved && panel.selecting) {
    const auto screen = [&](Point p) { return ImVec2(input.origin.x + ui.px(p.x), input.origin.y + ui.px(p.y)); };
    ImGui::GetWindowDrawList()->AddRect(screen(panel.drag_from), screen(input.mouse), ui.colour(ColourRole::selection),
                                        0.0f, 1.0f);
  }
  if (!panel.dragging || input.held) return;
  panel.dragging = false;
  const auto from = place.at(panel.drag_from), to = place.clamped(input.mouse);
  if (panel.selecting && moved && from && to) {
    ui.send(fmt::format("zoom {}:{} {}:{}", std::min(from->query, to->query), std::max(from->query, to->query) + 1,
                        std::min(from->key, to->key), std::max(from->key, to->key) + 1));
  }
}

void use_mouse(Ui& ui, CentrePanel& panel, const FigureInput& input) {
  const ImGuiIO& io = ImGui::GetIO();
  const int64_t tokens = ui.app.data().tokens();
  const auto cell = panel.map.at(input.mouse);
  if (input.hovered && cell && io.MouseWheel != 0) {
    MapState& state = ui.app.state.map;
    state = window_within(state, tokens);
    zoom_at(state, *cell, static_cast<double>(io.MouseWheel), tokens);
  }
  const bool moved = io.MouseDragMaxDistanceSqr[0] >= io.MouseDragThreshold * io.MouseDragThreshold;
  use_drag(ui, panel, input, moved);
  if (input.double_clicked) {
    ui.send("fit");
  } else if (input.clicked && cell && !moved) {
    ui.send(fmt::format("select query={} key={}", cell->query, std::min(cell->key, tokens - 1)));
  }
}

void draw_hover(Ui& ui, const CentrePanel& panel, const FigureInput& input) {
  const auto cell = panel.map.at(input.mouse);
  if (!input.hovered || !cell || panel.dragging) return;
  const RunView& run = *ui.app.data().run;
  const MapPlace& place = panel.map;
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const auto x = [&](int64_t key) {
    return input.origin.x +
           ui.px(place.box.x + (static_cast<double>(key - place.window.key_begin) + 0.5) * place.pitch());
  };
  const auto y = [&](int64_t query) {
    return input.origin.y +
           ui.px(place.box.y + (static_cast<double>(query - place.window.row_begin) + 0.5) * place.pitch());
  };
  const ImU32 colour = ui.colour(ColourRole::selection, 0.45);
  list.AddLine(ImVec2(input.origin.x + ui.px(place.box.x), y(cell->query)),
               ImVec2(input.origin.x + ui.px(place.box.right()), y(cell->query)), colour);
  list.AddLine(ImVec2(x(cell->key), input.origin.y + ui.px(place.box.y)),
               ImVec2(x(cell->key), input.origin.y + ui.px(place.box.bottom())), colour);
  const std::string text = cell_text(ui, run, ui.app.state.slot().selection, *cell);
  tooltip(ui, text, true);
  ui.under_cursor = text;
}

}  // namespace

double MapPlace::pitch() const { return box.width / static_cast<double>(window.key_end - window.key_begin); }

std::optional<MapCellAt> MapPlace::at(Point mouse) const {
  if (!shown || !box.contains(mouse)) return {};
  return clamped(mouse);
}

std::optional<MapCellAt> MapPlace::clamped(Point mouse) const {
  if (!shown || window.row_end <= window.row_begin || window.key_end <= window.key_begin) return {};
  MapCellAt cell;
  cell.query_exact = static_cast<double>(window.row_begin) + (mouse.y - box.y) / pitch();
  cell.key_exact = static_cast<double>(window.key_begin) + (mouse.x - box.x) / pitch();
  cell.query =
      std::clamp<int64_t>(static_cast<int64_t>(std::floor(cell.query_exact)), window.row_begin, window.row_end - 1);
  cell.key =
      std::clamp<int64_t>(static_cast<int64_t>(std::floor(cell.key_exact)), window.key_begin, window.key_end - 1);
  cell.bin = bin;
  const int64_t row = (cell.query - window.row_begin) / bin, column = (cell.key - window.key_begin) / bin;
  if (!cells.empty() && row < cells.rows && column < cells.cols) cell.largest = cells.at(row, column);
  return cell;
}

void draw_map_view(Ui& ui, CentrePanel& panel, double width, double height) {
  const CachedFigure& cached = map_figure(ui, panel, width, height);
  const FigureInput input = show_figure(ui, cached, "map");
  fill_on_click(ui, input);
  panel.map.origin = input.origin;
  panel.map.scale = ui.scale;
  if (!panel.map.shown) {
    panel.dragging = false;
    return;
  }
  use_mouse(ui, panel, input);
  draw_hover(ui, panel, input);
}

std::optional<ImVec2> CentrePanel::place_of(int64_t query, int64_t key) const {
  const bool inside = map.shown && query >= map.window.row_begin && query < map.window.row_end &&
                      key >= map.window.key_begin && key < map.window.key_end;
  if (!inside) return {};
  const double x = map.box.x + (static_cast<double>(key - map.window.key_begin) + 0.5) * map.pitch();
  const double y = map.box.y + (static_cast<double>(query - map.window.row_begin) + 0.5) * map.pitch();
  return ImVec2(map.origin.x + static_cast<float>(x * map.scale), map.origin.y + static_cast<float>(y * map.scale));
}

}  // namespace headscope::gui
