#include "app/gui/paint/figure_plan.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace headscope::gui {
namespace {

/// Boxes that can be asked quickly whether one of them meets another box: lists by cells of a coarse grid.
class BoxIndex {
 public:
  BoxIndex(double width, double height) : width_(std::max(1.0, width)), height_(std::max(1.0, height)) {}

  void add(const Box& box) {
    visit(box, [&](std::vector<Box>& cell) {
      cell.push_back(box);
      return false;
    });
    empty_ = false;
  }

  bool meets(const Box& box) {
    if (empty_) return false;
    return visit(box, [&](const std::vector<Box>& cell) {
      return std::ranges::any_of(cell, [&](const Box& b) {
        return b.x < box.right() && box.x < b.right() && b.y < box.bottom() && box.y < b.bottom();
      });
    });
  }

  void clear() {
    if (empty_) return;
    for (auto& cell : cells_) cell.clear();
    empty_ = true;
  }

 private:
  static constexpr int side = 32;

  static int cell_of(double at, double size) { return static_cast<int>(std::clamp(at / size * side, 0.0, side - 1.0)); }

  /// Calls `act` for each cell that `box` touches until one returns true.
  template <class Act>
  bool visit(const Box& box, const Act& act) {
    for (int y = cell_of(box.y, height_); y <= cell_of(box.bottom(), height_); ++y) {
      for (int x = cell_of(box.x, width_); x <= cell_of(box.right(), width_); ++x) {
        if (act(cells_[static_cast<size_t>(y * side + x)])) return true;
      }
    }
    return false;
  }

  double width_, height_;
  std::array<std::vector<Box>, static_cast<size_t>(side* side)> cells_;
  bool empty_ = true;
};

}  // namespace

FigurePlan plan_of(const Figure& figure, const TextMeasurer& measurer) {
  FigurePlan plan;
  plan.widths.resize(figure.primitives.size());
  BoxIndex between(figure.width, figure.height);
  for (size_t i = 0; i < figure.primitives.size(); ++i) {
    const Primitive& primitive = figure.primitives[i];
    if (const auto* text = std::get_if<TextMark>(&primitive.shape)) {
      plan.widths[i] = measurer.width(text->text, text->role);
    }
    if (const auto* image = std::get_if<ImageMark>(&primitive.shape)) {
      if (plan.batches.empty() || between.meets(image->box)) {
        plan.batches.push_back({plan.images.size(), 0});
        between.clear();
      }
      plan.images.push_back(i);
      ++plan.batches.back().count;
    } else if (!plan.batches.empty()) {
      between.add(bounds(primitive, measurer));
    }
  }
  return plan;
}

}  // namespace headscope::gui
