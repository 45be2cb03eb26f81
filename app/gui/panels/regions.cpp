#include "app/gui/panels/regions.h"

namespace headscope::gui {

void Regions::clear() {
  places_.clear();
  figures_.clear();
}

void Regions::add(std::string id, ImVec2 min, ImVec2 max) { places_.push_back({std::move(id), min, max}); }

void Regions::add_figure(const Figure& figure, ImVec2 origin, double scale) {
  figures_.push_back({&figure, origin, scale});
}

std::optional<ImVec2> Regions::find(std::string_view id, const TextMeasurer& measurer) const {
  for (auto place = places_.rbegin(); place != places_.rend(); ++place) {
    if (place->id == id) return ImVec2((place->min.x + place->max.x) / 2, (place->min.y + place->max.y) / 2);
  }
  for (auto painted = figures_.rbegin(); painted != figures_.rend(); ++painted) {
    const Primitive* hit = find_hit(*painted->figure, id);
    if (hit == nullptr) continue;
    const Box box = bounds(*hit, measurer);
    return ImVec2(static_cast<float>(painted->origin.x + (box.x + box.width / 2) * painted->scale),
                  static_cast<float>(painted->origin.y + (box.y + box.height / 2) * painted->scale));
  }
  return {};
}

}  // namespace headscope::gui
