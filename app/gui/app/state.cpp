#include "app/gui/app/state.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/views/state_json.h"
#include "core/views/views.h"

namespace headscope::gui {
namespace {

constexpr std::string_view theme_names[] = {"dark", "light"};
constexpr std::string_view slot_names[] = {"A", "B"};
constexpr std::string_view part = "the workspace's part";

Json to_json(const std::optional<int64_t>& value) { return value ? Json(*value) : Json(nullptr); }

Json to_json(const Selection& selection) {
  return {{"layer", to_json(selection.layer)},
          {"head", to_json(selection.head)},
          {"query", to_json(selection.query)},
          {"key", to_json(selection.key)}};
}

void read_optional(StateReader& reader, std::string_view key, std::optional<int64_t>& value) {
  const Json* json = reader.find(key);
  if (json == nullptr || json->is_null()) return;
  int64_t number = 0;
  reader.read(key, number, 0);
  value = number;
}

Selection selection_of(const Json& json) {
  Selection selection;
  StateReader reader(json, "selection", part);
  read_optional(reader, "layer", selection.layer);
  read_optional(reader, "head", selection.head);
  read_optional(reader, "query", selection.query);
  read_optional(reader, "key", selection.key);
  reader.finish();
  return selection;
}

const Json::array_t& array_of(const Json& json, std::string_view key) {
  if (!json.is_array()) fail("key '{}' in the workspace must be a list, found {}.", key, json.type_name());
  return json.get_ref<const Json::array_t&>();
}

Json to_json(const SlotState& slot) {
  Json off = Json::array();
  for (const HeadId& head : slot.switched_off) off.push_back({{"layer", head.layer}, {"head", head.head}});
  return {{"path", slot.path},
          {"prompt", slot.prompt},
          {"cut", slot.cut},
          {"selection", to_json(slot.selection)},
          {"switched_off", std::move(off)}};
}

SlotState slot_of(const Json& json) {
  SlotState slot;
  StateReader reader(json, "slot", part);
  reader.read("path", slot.path);
  reader.read("prompt", slot.prompt);
  reader.read("cut", slot.cut, 0);
  if (const Json* selection = reader.find("selection")) slot.selection = selection_of(*selection);
  if (const Json* heads = reader.find("switched_off")) {
    for (const Json& entry : array_of(*heads, "switched_off")) {
      HeadId head;
      StateReader of_head(entry, "switched_off", part);
      of_head.read("layer", head.layer, 0);
      of_head.read("head", head.head, 0);
      of_head.finish();
      slot.switched_off.push_back(head);
    }
  }
  reader.finish();
  return slot;
}

Json to_json(const GenerationState& generation) {
  return {{"count", generation.count}, {"temperature", generation.temperature},
          {"top_k", generation.top_k}, {"top_p", generation.top_p},
          {"seed", generation.seed},   {"ignore_eos", generation.ignore_eos}};
}

GenerationState generation_of(const Json& json) {
  GenerationState generation;
  StateReader reader(json, "generation", part);
  reader.read("count", generation.count, 1);
  reader.read("temperature", generation.temperature, 0, 1e3);
  reader.read("top_k", generation.top_k, 0);
  reader.read("top_p", generation.top_p, 1e-6, 1);
  int64_t seed = 0;
  reader.read("seed", seed, 0);
  generation.seed = static_cast<uint64_t>(seed);
  reader.read("ignore_eos", generation.ignore_eos);
  reader.finish();
  return generation;
}

std::vector<std::string> paths_of(const Json& json) {
  std::vector<std::string> paths;
  for (const Json& entry : array_of(json, "recent")) {
    if (!entry.is_string()) fail("key 'recent' in the workspace must list paths, found {}.", entry.type_name());
    if (paths.size() < most_recent) paths.push_back(entry.get<std::string>());
  }
  return paths;
}

}  // namespace

MapState without_zoom(const MapState& zoomed) {
  MapState whole;
  whole.log_colour = zoomed.log_colour;
  return whole;
}

MapState window_within(MapState state, int64_t tokens) {
  const auto cut = [&](int64_t& begin, int64_t& end) {
    if (begin >= tokens) begin = 0, end = tokens;
    if (end == 0 || end > tokens) end = tokens;
  };
  cut(state.row_begin, state.row_end);
  cut(state.key_begin, state.key_end);
  return state;
}

Json to_json(const AppState& state) {
  return {{"format", "headscope-workspace"},
          {"version", 1},
          {"slots", {{"A", to_json(state.slots[0])}, {"B", to_json(state.slots[1])}}},
          {"active", slot_name(state.active)},
          {"view", state.view},
          {"theme", theme_names[static_cast<size_t>(state.theme)]},
          {"font_scale", state.font_scale},
          {"views", {{"atlas", to_json(state.atlas)}, {"map", to_json(state.map)}, {"kv", to_json(state.kv)}}},
          {"generation", to_json(state.generation)},
          {"recent", state.recent},
          {"folder", state.folder},
          {"log_open", state.log_open},
          {"head_open", state.head_open},
          {"width", state.width},
          {"height", state.height},
          {"docking", state.docking}};
}

AppState app_state(const Json& json) {
  AppState state;
  StateReader reader(json, "window", part);
  size_t format = 0;
  constexpr std::string_view formats[] = {"headscope-workspace"};
  reader.read("format", format, formats);
  int64_t version = 1;
  reader.read("version", version, 1);
  if (version > 1) fail("the workspace was written by a newer HeadScope (version {}, this one knows 1).", version);
  if (const Json* slots = reader.find("slots")) {
    StateReader of_slots(*slots, "slots", part);
    for (const ModelSlot slot : model_slots) {
      if (const Json* one = of_slots.find(slot_name(slot))) state.slots[index_of(slot)] = slot_of(*one);
    }
    of_slots.finish();
  }
  reader.read_enum("active", state.active, slot_names);
  std::vector<std::string_view> names;
  for (const ViewInfo& view : views()) {
    if (view.tab) names.push_back(view.name);
  }
  size_t view = 0;
  reader.read("view", view, names);
  state.view = names[view];
  reader.read_enum("theme", state.theme, theme_names);
  reader.read("font_scale", state.font_scale, smallest_font_scale, largest_font_scale);
  if (const Json* of_views = reader.find("views")) {
    StateReader by_name(*of_views, "views", part);
    if (const Json* atlas = by_name.find("atlas")) state.atlas = atlas_state(*atlas);
    if (const Json* map = by_name.find("map")) state.map = map_state(*map);
    if (const Json* kv = by_name.find("kv")) state.kv = kv_state(*kv);
    by_name.finish();
  }
  if (const Json* generation = reader.find("generation")) state.generation = generation_of(*generation);
  if (const Json* recent = reader.find("recent")) state.recent = paths_of(*recent);
  reader.read("folder", state.folder);
  reader.read("log_open", state.log_open);
  reader.read("head_open", state.head_open);
  reader.read("width", state.width, 1);
  reader.read("height", state.height, 1);
  reader.read("docking", state.docking);
  reader.finish();
  return state;
}

}  // namespace headscope::gui
