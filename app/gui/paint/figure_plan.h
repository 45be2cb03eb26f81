#pragma once

#include <cstddef>
#include <vector>

#include "core/views/figure.h"

namespace headscope::gui {

/// Part of painting a figure that is the same in every frame: how wide its texts are and which of its images can be
/// drawn together. Internal to FigurePainter.
struct FigurePlan {
  /// Images of the figure, `first` to `first + count` in the order of its primitives, drawn where the first one stands.
  struct Batch {
    size_t first = 0, count = 0;
  };
  std::vector<double> widths;  ///< by primitive: of a text in px, else 0
  std::vector<size_t> images;  ///< primitives that are images
  std::vector<Batch> batches;  ///< in order; each image is in exactly one
};

/// An image joins the batch before it unless something between the two lies under it.
FigurePlan plan_of(const Figure&, const TextMeasurer&);

}  // namespace headscope::gui
