#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <imgui.h>

#include "app/gui/app/app.h"
#include "app/gui/app/commands.h"
#include "app/gui/paint/fonts.h"
#include "app/gui/paint/painter.h"
#include "app/gui/panels/regions.h"

namespace headscope::gui {

/// A figure that is made again only when what it shows has changed.
struct CachedFigure {
  std::string key;
  Figure figure;
  uint64_t version = 0;  ///< never the same for two figures
  bool shown = false;    ///< in this frame
};

/// The figures of the places in the window. What a frame does not show is dropped after it, with the data it holds.
struct FigureCache {
  std::map<std::string, CachedFigure, std::less<>> places;
  uint64_t versions = 0;

  void drop_unseen();
};

/// What every panel gets for one frame. Panels read the app, paint, and send command lines, which run after the frame;
/// they change nothing but the view state that is theirs.
struct Ui {
  App& app;
  const Fonts& fonts;
  FigurePainter& painter;
  const TextMeasurer& text;
  Regions& regions;
  FigureCache& figures;
  std::vector<std::string>& sent;  ///< command lines, in order
  double scale = 1;                ///< ImGui pixels a px
  Theme theme = Theme::dark;
  std::string under_cursor;  ///< text of what the mouse is over, for Ctrl+C
  bool typing = false;       ///< a text field has the keyboard

  void send(std::string line) { sent.push_back(std::move(line)); }
  float px(double value) const { return static_cast<float>(value * scale); }
  ImU32 colour(ColourRole role, double opacity = 1) const { return to_u32(Paint{role, opacity}, theme); }
  ImVec4 vec(ColourRole role) const { return to_vec4(Paint{role}, theme); }
  PushFont font(TextRole role) const { return PushFont(fonts, role, scale); }

  /// The figure of `place`, made by `make` when `key` has changed.
  const CachedFigure& figure(const std::string& place, std::string key, const std::function<Figure()>& make);
  /// Which data the active slot shows: part of the key of every figure made from it.
  std::string data_key() const;

 private:
  /// What `make` throws becomes a line in the log and an empty figure.
  Figure made(const std::function<Figure()>& make) const;
};

/// Mouse over a painted figure, in px of the figure.
struct FigureInput {
  ImVec2 origin;                   ///< of the figure, ImGui pixels
  bool hovered = false;            ///< the mouse is over it and nothing lies above
  Point mouse;                     ///< meaningful while hovered or held
  const HitRegion* hit = nullptr;  ///< under the mouse
  bool clicked = false;            ///< pressed and released here without a drag
  bool double_clicked = false;
  bool held = false;  ///< the button went down here and is still down
};

/// The numbers of an id "atlas/2/5" behind "atlas/"; empty when it does not begin so or holds anything else.
std::vector<int64_t> numbers_of(std::string_view id, std::string_view prefix);

/// Paints a cached figure at ImGui's cursor, makes it an item that takes the mouse, registers its regions.
/// `takes_wheel`: the panel around it does not scroll, too.
FigureInput show_figure(Ui&, const CachedFigure&, const char* place, bool takes_wheel = true);

/// The one action that fills an empty view, on a click anywhere in it: opens a model, or runs the prompt.
void fill_on_click(Ui&, const FigureInput&);

/// A tooltip like all others: lines parted by '\n', the first one brighter, in the monospace face when `numbers`.
void tooltip(Ui&, std::string_view lines, bool numbers = false);

/// A tooltip for the item drawn last: what it does and its shortcut.
void explain(Ui&, std::string_view what, std::string_view shortcut = {});

/// The cross of a panel over the others, where the cursor is; true when it is clicked.
bool close_button(Ui&, const char* region);

/// For InputText with CallbackAlways and a bool as user data: puts the cursor at the end once when it is set.
int cursor_to_end(ImGuiInputTextCallbackData*);

/// ASCII letters in lower case, for finding what is typed.
std::string lower(std::string_view text);

enum class ButtonKind { plain, primary, toggle_on };
/// A button of the standard height, `width` px wide; 0: as wide as the text.
bool button(Ui&, const char* label, double width = 0, ButtonKind kind = ButtonKind::plain);
/// The same that sends a command line; greyed with the reason as tooltip when it cannot be done.
bool command_button(Ui&, const char* label, const std::string& line, double width = 0,
                    ButtonKind kind = ButtonKind::plain);

/// A window over the others in the middle of the screen, `width` x `height` px (0: as high as it needs), at most as
/// large as the screen; closes when something else takes the focus. `draw` fills it.
void floating_window(Ui&, const char* id, double width, double height, bool& open, bool& opened_now,
                     const std::function<void()>& draw);

/// A rounded card in the panel's colour under the whole current window.
void panel_background(Ui&);

}  // namespace headscope::gui
