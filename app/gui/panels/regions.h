#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <imgui.h>

#include "core/views/figure.h"

namespace headscope::gui {

/// Where what can be clicked is on the screen in this frame, by id ("atlas/2/5", "run", "tab/map"): for scripts.
class Regions {
 public:
  void clear();
  void add(std::string id, ImVec2 min, ImVec2 max);
  /// The item that ImGui drew last.
  void add_last_item(std::string id) { add(std::move(id), ImGui::GetItemRectMin(), ImGui::GetItemRectMax()); }
  /// All hit regions of a figure that lives at least as long as the frame.
  void add_figure(const Figure&, ImVec2 origin, double scale);

  /// The middle of the region with this id; one that was added later lies on top.
  std::optional<ImVec2> find(std::string_view id, const TextMeasurer&) const;

 private:
  struct Place {
    std::string id;
    ImVec2 min, max;
  };
  struct Painted {
    const Figure* figure;
    ImVec2 origin;
    double scale;
  };
  std::vector<Place> places_;
  std::vector<Painted> figures_;
};

}  // namespace headscope::gui
