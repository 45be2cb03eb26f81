#include "core/views/kv_layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/base/text.h"
#include "core/views/plot/ticks.h"

namespace headscope {
namespace {

constexpr double narrowest = 3, widest = 18;  ///< px of a bar and what parts it from the next

/// Layer numbers below the bars, as many as have room.
void add_numbers(Figure& figure, const Box& bars, double pitch, const KvData& data, const Selection& selection,
                 const Layout& layout) {
  std::vector<double> centres, extents;
  for (size_t i = 0; i < data.layers.size(); ++i) {
    centres.push_back(bars.x + (static_cast<double>(i) + 0.5) * pitch);
    extents.push_back(layout.text.width(std::to_string(data.layers[i].layer), TextRole::number_small));
  }
  for (const size_t i : thinned(centres, extents, 4)) {
    const bool selected = selection.layer == data.layers[i].layer;
    add_fitted(figure, {centres[i], bars.bottom() + 16}, std::to_string(data.layers[i].layer), TextRole::number_small,
               {selected ? ColourRole::text : ColourRole::dim}, Anchor::middle, extents[i] + 4, layout);
  }
}

}  // namespace

std::string kv_layer_tooltip(const KvLayerBytes& l, int64_t tokens) {
  return fmt::format("cache of layer {} after {} tokens\n{} B used of {} B allocated\n{} a token{}", l.layer, tokens,
                     format_count(l.used), format_count(l.allocated), format_bytes(l.bytes_per_token),
                     l.window > 0 ? fmt::format("\nkeeps the last {} tokens", l.window) : "");
}

double add_kv_layers(Figure& figure, const Box& room, const KvData& data, const Selection& selection,
                     const Layout& layout) {
  constexpr double above = 20, below = 20;  // as the chart beside has them
  const auto count = static_cast<double>(data.layers.size());
  const double pitch = std::min(widest, std::floor(room.width / count));
  const Box bars{room.x, room.y + above, pitch * count, room.height - above - below};
  if (pitch < narrowest || bars.height < 24) return 0;
  constexpr std::string_view caption = "used of allocated, by layer";
  add_fitted(figure, {room.x, room.y + above - 6}, caption, TextRole::caption, {ColourRole::dim}, Anchor::start,
             room.width, layout);
  uint64_t most = 1;
  for (const KvLayerBytes& l : data.layers) most = std::max({most, l.allocated, l.used});
  const auto height = [&](uint64_t bytes) {
    return bars.height * static_cast<double>(bytes) / static_cast<double>(most);
  };
  for (size_t i = 0; i < data.layers.size(); ++i) {
    const KvLayerBytes& l = data.layers[i];
    const double x = bars.x + static_cast<double>(i) * pitch, width = pitch - (pitch > 6 ? 2 : 1);
    const double used = height(l.used), allocated = height(l.allocated);
    figure.add(RectMark{{x, bars.bottom() - allocated, width, allocated}, Paint{ColourRole::line}, {}});
    figure.add(RectMark{{x, bars.bottom() - used, width, used}, Paint{accent(data.facts.slot)}, {}});
    if (selection.layer == l.layer) {
      figure.add(RectMark{{x, bars.bottom() + 1, width, 2}, Paint{ColourRole::selection}, {}});
    }
    figure.add(RectMark{{x, bars.y, pitch, bars.height}, {}, {}},
               {fmt::format("kv/bar/{}", l.layer), kv_layer_tooltip(l, data.facts.tokens)});
  }
  add_numbers(figure, bars, pitch, data, selection, layout);
  return std::max(bars.width, std::min(room.width, layout.text.width(caption, TextRole::caption)));
}

}  // namespace headscope
