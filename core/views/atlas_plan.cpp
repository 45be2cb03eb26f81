#include "core/views/atlas_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/views/plot/pool.h"

namespace headscope {
namespace {

constexpr double lane_width = 8;

/// The most items from `first` on that fit, where `first` starts at `wanted` and moves back if there is room left.
template <class Fits>
int64_t longest_run(int64_t& first, int64_t all, int64_t wanted, const Fits& fits) {
  first = std::clamp<int64_t>(wanted, 0, all - 1);
  int64_t count = 0;
  while (first + count < all && fits(count + 1)) ++count;
  while (first > 0 && first + count == all) {
    --first;
    if (fits(count + 1)) {
      ++count;
    } else {
      ++first;
      break;
    }
  }
  return count;
}

}  // namespace

AtlasPlan::AtlasPlan(const AtlasData& data, const AtlasState& state, const Layout& layout, double width, double height)
    : data_(data), layout_(layout) {
  find_lanes();
  layers_ = layer_count();
  heads_ = most_heads();
  for (double cell = largest_cell; cell >= smallest_cell; --cell) {
    set_cell(cell);
    if (gutter_ + grid_width(heads_) > width || grid_height(layers_) > height) continue;
    settle_cell(cell);
    return;
  }
  show_part(state, width, height);
}

/// A slightly smaller cell when that gives each cell of the maps the same whole number of device pixels.
void AtlasPlan::settle_cell(double cell) {
  if (!shows_maps()) return;
  const int64_t cells = map_cells(), factor = pool_factor(cells, cell * layout_.scale);
  const auto drawn = static_cast<double>((cells + factor - 1) / factor);
  const double even = std::floor(cell * layout_.scale / drawn) * drawn / layout_.scale;
  const auto kind = [](double size) { return (size >= 24) + (size >= 32) + (size >= 64); };
  if (even >= 0.9 * cell && kind(even) == kind(cell)) set_cell(even);
}

void AtlasPlan::show_part(const AtlasState& state, double width, double height) {
  set_cell(smallest_cell);
  heads_ = longest_run(first_head_, most_heads(), state.first_head,
                       [&](int64_t n) { return gutter_ + grid_width(n) <= width; });
  drop_cut_group();
  const double note = note_height;
  layers_ = longest_run(first_layer_, layer_count(), state.first_layer,
                        [&](int64_t n) { return grid_height(n) + note <= height; });
}

/// Leaves out the last KV group when only a part of it would show and others are whole.
void AtlasPlan::drop_cut_group() {
  const int64_t group = group_size(0), end = first_head_ + heads_;
  const bool cut = end < most_heads() && end % group != 0;
  if (cut && end / group * group > first_head_) heads_ = end / group * group - first_head_;
}

void AtlasPlan::find_lanes() {
  std::vector<int64_t> last_reader(data_.layers.size(), -1);
  for (int64_t l = 0; l < layer_count(); ++l) {
    if (reads_other(l)) last_reader[static_cast<size_t>(at(l).kv_owner)] = l;
  }
  // Lines whose rows overlap lie side by side.
  std::vector<int64_t> free_from;
  for (int64_t owner = 0; owner < layer_count(); ++owner) {
    const int64_t last = last_reader[static_cast<size_t>(owner)];
    if (last < 0) continue;
    size_t place = 0;
    while (place < free_from.size() && free_from[place] > owner) ++place;
    if (place == free_from.size()) free_from.push_back(0);
    free_from[place] = last + 1;
    lanes_.push_back({owner, last, place});
  }
  lane_places_ = free_from.size();
}

void AtlasPlan::set_cell(double cell) {
  cell_ = cell;
  gap_ = cell < 32 ? 2 : 6;
  group_gap_ = cell < 32 ? 6 : 14;
  row_pitch_ = cell + (has_captions() ? 24 : gap_);
  label_width_ = widest_label();
  gutter_ = std::ceil((label_width_ + 12 + lane_width * static_cast<double>(lane_places_)) / 4) * 4;
}

/// Measured once for each form that the labels have.
double AtlasPlan::widest_label() {
  double& widest = widest_labels_[one_line_labels()];
  for (int64_t l = 0; l < layer_count() && !labels_measured_[one_line_labels()]; ++l) {
    widest = std::max(widest, layout_.text.width(layer_label(l), TextRole::caption));
    if (!one_line_labels() && reads_other(l)) {
      widest = std::max(widest, layout_.text.width(owner_label(l), TextRole::caption));
    }
  }
  labels_measured_[one_line_labels()] = true;
  return widest;
}

std::string AtlasPlan::layer_label(int64_t layer) const {
  if (!one_line_labels() || !reads_other(layer)) return fmt::format("layer {}", layer);
  return fmt::format("layer {} reads {}", layer, at(layer).kv_owner);
}

std::string AtlasPlan::owner_label(int64_t layer) const { return fmt::format("reads layer {}", at(layer).kv_owner); }

double AtlasPlan::head_x(int64_t layer, int64_t head) const {
  const int64_t group = group_size(layer);
  const double groups_between = group == 1 ? 0 : static_cast<double>(head / group - first_head_ / group);
  return static_cast<double>(head - first_head_) * (cell_ + gap_) + groups_between * (group_gap_ - gap_);
}

bool AtlasPlan::has_header(int64_t layer) const {
  return layer == first_layer_ || at(layer).q_heads != at(layer - 1).q_heads ||
         at(layer).kv_heads != at(layer - 1).kv_heads || at(layer).latent != at(layer - 1).latent;
}

int64_t AtlasPlan::end_head(int64_t layer) const { return std::min(at(layer).q_heads, first_head_ + heads_); }

bool AtlasPlan::shows(int64_t layer, int64_t head) const {
  return layer >= first_layer_ && layer < end_layer() && head >= first_head_ && head < end_head(layer);
}

std::string AtlasPlan::scroll_note() const {
  std::string note;
  const auto add = [&](std::string_view what, int64_t first, int64_t count, int64_t all) {
    if (count == all) return;
    note += fmt::format("{}{} {}-{} of {}", note.empty() ? "" : ", ", what, first, first + count - 1, all);
  };
  add("layers", first_layer_, layers_, layer_count());
  add("heads", first_head_, heads_, most_heads());
  return note.empty() ? note : note + " shown";
}

int64_t AtlasPlan::most_heads() const {
  int64_t most = 0;
  for (const AtlasLayer& layer : data_.layers) most = std::max(most, layer.q_heads);
  return most;
}

int64_t AtlasPlan::map_cells() const {
  int64_t cells = 1;
  for (const AtlasLayer& layer : data_.layers) {
    for (const AtlasHead& head : layer.heads) cells = std::max({cells, head.map.rows, head.map.cols});
  }
  return cells;
}

double AtlasPlan::grid_width(int64_t heads) const {
  double width = 0;
  for (int64_t l = 0; l < layer_count(); ++l) {
    const int64_t last = std::min(at(l).q_heads, first_head_ + heads) - 1;
    if (last >= first_head_) width = std::max(width, head_x(l, last) + cell_);
  }
  return width;
}

double AtlasPlan::grid_height(int64_t layers) const {
  double height = 0;
  for (int64_t l = first_layer_; l < first_layer_ + layers; ++l) {
    height += row_pitch_;
    if (has_header(l)) height += header_height + (l > first_layer_ ? header_gap : 0);
  }
  return height - (layers > 0 && !has_captions() ? gap_ : 0);
}

}  // namespace headscope
