#pragma once

#include <string>
#include <vector>

#include "core/views/figure.h"

namespace headscope {

enum class ModelSlot { a, b };

/// The accent of a model, everywhere.
inline ColourRole accent(ModelSlot slot) { return slot == ModelSlot::a ? ColourRole::model_a : ColourRole::model_b; }

/// What every figure says about the run it shows.
struct RunFacts {
  std::string model;    ///< "stories260K"; empty: no model is open
  std::string variant;  ///< "GQA-4"
  ModelSlot slot = ModelSlot::a;
  int64_t tokens = 0;               ///< 0: nothing has been run
  std::vector<std::string> badges;  ///< what changes the numbers: "head 2:5 zeroed"
  std::vector<std::string> notes;   ///< "built-in prompt", "kernel cpu/AVX3, f32"
};

inline constexpr double padding = 16;

/// A figure of the layout's size with title, model, sentence and badges on top and notes at the bottom; all
/// shortened to fit. `body` becomes what is left between them, inside the padding; it may be too small for
/// anything, even empty.
Figure begin_figure(std::string title, std::string sentence, const RunFacts&, const Layout&, Box& body);

/// A figure for a view that has nothing to show: what it shows, why it is empty, the one action that fills it, in the
/// slot's colour.
Figure empty_figure(std::string title, std::string shows, std::string why, std::string action, ModelSlot,
                    const Layout&);
/// The same where no model is open or nothing has been run.
Figure empty_figure(std::string title, std::string shows, const RunFacts&, const Layout&);

/// Badges as chips 20 px high side by side from `top`, as many as fit; for figures that draw their own heading.
void add_badges(Figure&, const std::vector<std::string>& badges, const Layout&, double top);

/// Adds text, made printable and shortened to `width` px. Adds nothing when not even an ellipsis fits, or
/// when the letters would leave the figure.
void add_fitted(Figure&, Point at, std::string_view text, TextRole, Paint, Anchor, double width, const Layout&);

}  // namespace headscope
