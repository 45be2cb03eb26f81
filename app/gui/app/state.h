#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/io/json.h"
#include "core/views/atlas.h"
#include "core/views/kv.h"
#include "core/views/map.h"
#include "core/views/plot/heading.h"
#include "core/views/selection.h"

namespace headscope::gui {

/// What is run when a model is opened and nobody has typed anything yet.
inline constexpr std::string_view built_in_prompt =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, Lily saw a "
    "big, red ball.";

inline constexpr std::array<ModelSlot, 2> model_slots{ModelSlot::a, ModelSlot::b};
inline size_t index_of(ModelSlot slot) { return static_cast<size_t>(slot); }
inline std::string_view slot_name(ModelSlot slot) { return slot == ModelSlot::a ? "A" : "B"; }

/// What the user chose for one model: everything that is needed to bring it back.
struct SlotState {
  std::string path;  ///< folder or .h5; empty: no model
  std::string prompt{built_in_prompt};
  int64_t cut = 0;  ///< the prompt's first tokens that are run; 0: all
  Selection selection;
  std::vector<HeadId> switched_off;  ///< heads whose output is zeroed, ascending
};

struct GenerationState {
  int64_t count = 20;  ///< tokens that Generate appends
  double temperature = 0;
  int64_t top_k = 0;
  double top_p = 1;
  uint64_t seed = 0;
  bool ignore_eos = false;
};

/// Everything the user can see or set, as one plain value. Workspace files, scripts and export read and write it; the
/// data that it is about (models, runs) is elsewhere (app.h).
struct AppState {
  std::array<SlotState, 2> slots;
  ModelSlot active = ModelSlot::a;
  std::string view = "atlas";  ///< in the middle
  Theme theme = Theme::dark;
  double font_scale = 1;  ///< 0.8 to 1.6
  AtlasState atlas;
  MapState map;
  KvState kv;
  GenerationState generation;
  std::vector<std::string> recent;  ///< paths of models, newest first
  std::string folder;               ///< where the file browser stands
  bool log_open = false;
  bool head_open = true;               ///< the panel of the selected head; below 1,400 px it is an overlay
  int64_t width = 1280, height = 800;  ///< of the window, px at content scale 1
  std::string docking;                 ///< sizes of the panels, as Dear ImGui writes them

  SlotState& slot() { return slots[index_of(active)]; }
  const SlotState& slot() const { return slots[index_of(active)]; }
};

/// The whole map in the same colours.
MapState without_zoom(const MapState&);

/// The zoom with its ends filled in and cut to a run of so many tokens; all of it when it lies beyond.
MapState window_within(MapState, int64_t tokens);

inline constexpr double smallest_font_scale = 0.8, largest_font_scale = 1.6;
inline constexpr size_t most_recent = 10;

Json to_json(const AppState&);
/// Throws Error naming the key for anything that does not fit; keys that are absent keep their defaults.
AppState app_state(const Json&);

}  // namespace headscope::gui
