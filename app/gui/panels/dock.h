#pragma once

#include <functional>

#include "app/gui/panels/ui.h"

/// Where the docked panels are: model and prompt at the left, the views in the middle, the head's card at the right,
/// the KV strip at the foot.
namespace headscope::gui {

inline constexpr double top_bar_height = 44;  ///< px
inline constexpr double head_width = 304;     ///< px, of the head's card

/// The ground below the top bar with the dock space. Panels are laid out as the style has them when `fresh` is set or
/// no sizes were saved.
void draw_dock(Ui&, bool fresh);

/// A docked panel as a card; `draw` is called inside. `still`: it never scrolls.
void docked_panel(Ui&, const char* name, double padding, bool still, const std::function<void()>& draw);

/// Panels grow with the text.
void scale_docked_panels(double factor);

}  // namespace headscope::gui
