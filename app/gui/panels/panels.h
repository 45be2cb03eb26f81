#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "app/gui/panels/ui.h"
#include "core/views/plot/pool.h"
#include "core/views/token_flow.h"

/// One function a panel: called inside an ImGui window that the shell has begun. What a panel remembers between frames
/// and nobody else needs (an open editor, a scroll position) is its own struct here.
namespace headscope::gui {

/// What a report of a fault needs.
struct ProgramFacts {
  std::string version, device, kernel, renderer;
};

/// Where the panel in the middle lies, in ImGui pixels.
struct Middle {
  ImVec2 at, size;
};

struct DevicePanel {
  bool open = false;
  std::string map_kernel;  ///< of the map that is shown, or empty
};
/// Menus, model tabs, command search, and progress or the device: a window of its own at the top.
void draw_top_bar(Ui&, const DevicePanel&);

/// Models that were open before, a line each `width` px wide; 0: as wide as the longest, with whole paths.
void draw_recent_models(Ui&, double width);

/// Facts of the active model with its sharing geometry.
void draw_model_panel(Ui&);

struct PromptPanel {
  bool editing = false;
  bool focus = false;  ///< put the cursor in the editor in the next frame
  bool settings = false;
  bool was_active = false;
  bool cursor_to_end = false;  ///< when the editor has opened
  std::string draft;
  std::shared_ptr<TokenFlow> flow;  ///< the chips' lines
  uint64_t flow_key = 0;            ///< which tokens are in it
  int64_t first_line = 0;           ///< scroll position
  int64_t seen_tokens = 0;
  std::map<std::string, std::string, std::less<>> drafts;  ///< of the sampling fields, as they are typed
  std::string typed_field;                                 ///< the one with the keyboard
  std::string seen_place;                                  ///< what was selected when the chips were drawn last
};
/// Token chips or the editor, Run, Next token, Generate, Cancel, sampling.
void draw_prompt_panel(Ui&, PromptPanel&);

/// A place on the map under the mouse.
struct MapCellAt {
  int64_t query = 0, key = 0;
  double query_exact = 0, key_exact = 0;  ///< with the part of a token
  int64_t bin = 1;                        ///< tokens a cell
  float largest = 0;                      ///< of the cell
};

/// Where the map was painted and what it showed.
struct MapPlace {
  struct Tokens {
    int64_t row_begin = 0, row_end = 0, key_begin = 0, key_end = 0;
  };
  bool shown = false;
  bool exact = false;   ///< false: some cells still come from coarser tiles
  int64_t updates = 0;  ///< 1: what was there when this part of the map was chosen; more: tiles have arrived since
  uint64_t version = 0, run = 0;
  std::string kernel;  ///< that computed its tiles; empty: none is there yet
  MapRegion region;
  Tokens window;
  int64_t bin = 1;
  Grid cells;
  Box box;  ///< of the cells, px in the figure
  ImVec2 origin;
  double scale = 1;

  double pitch() const;  ///< px a token
  std::optional<MapCellAt> at(Point mouse) const;
  std::optional<MapCellAt> clamped(Point mouse) const;
};

struct CentrePanel {
  PooledGrids thumbnails;  ///< of the atlas, as small as they are drawn
  double wheel = 0;        ///< notches not yet worth a step
  MapPlace map;
  bool dragging = false, selecting = false;
  Point drag_from;
  MapState drag_state;

  /// Where a (query, key) of the map is on the screen, if it is.
  std::optional<ImVec2> place_of(int64_t query, int64_t key) const;
};
/// Tabs of the views and the chosen one.
void draw_centre_panel(Ui&, CentrePanel&);
/// The map view in `size` px and its mouse.
void draw_map_view(Ui&, CentrePanel&, double width, double height);

/// The selected head's card.
void draw_head_panel(Ui&);
/// The same over the right of the middle, where there is no room beside it.
void draw_head_overlay(Ui&, const Middle&, bool& open);

/// The growing KV cache in `width` x `height` px: the view in the middle, or the strip at the bottom.
void draw_kv_view(Ui&, const char* place, double width, double height);

/// Where the model runs, which kernels computed what is shown, and the device's memory by purpose; over the right of
/// the window, below the top bar.
void draw_device_panel(Ui&, const DevicePanel&);

void draw_log_window(Ui&, const ProgramFacts&, bool& open);
void draw_about(Ui&, const ProgramFacts&, bool& open);

/// The active slot's errors, at the top of the panel in the middle.
void draw_errors(Ui&, double width);
/// The active slot's notes, over the foot of the middle, so that nothing moves.
void draw_notes(Ui&, const Middle&);

struct Palette {
  bool open = false, opened_now = false;
  std::string text;
  int chosen = 0;
};
void draw_palette(Ui&, Palette&);

struct Browser {
  bool open = false, opened_now = false;
  ModelSlot slot = ModelSlot::a;
  std::filesystem::path folder;
  std::string text;     ///< what is typed in the path field
  bool at_end = false;  ///< put the cursor at its end, as the folder is another one
  std::string problem;  ///< why the folder cannot be listed
  struct Entry {
    std::string name;
    bool folder = false, model = false;
  };
  std::vector<Entry> entries;
  std::vector<size_t> shown;  ///< of the entries, those that fit what is typed
  int chosen = -1;            ///< of those shown
  bool picked = false;        ///< by an arrow or a click, after the newest letter
};
void open_browser(Browser&, ModelSlot, const std::string& folder);
void draw_browser(Ui&, Browser&);

struct ExportField {
  bool open = false, opened_now = false;
  std::string path;
  std::string problem;
  bool confirm = false;  ///< the file is there already: ask
  bool focus = false;    ///< put the cursor in the field in the next frame
};
void draw_export_field(Ui&, ExportField&);

}  // namespace headscope::gui
