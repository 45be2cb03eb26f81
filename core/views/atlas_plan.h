#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/views/atlas.h"

namespace headscope {

/// Where everything of the atlas goes: cell size, gaps, which layers and heads are visible. Internal to the atlas.
/// Refers to `data` and `layout`, which must outlive it.
class AtlasPlan {
 public:
  static constexpr double smallest_cell = 16, largest_cell = 96;
  static constexpr double header_height = 36;  ///< KV label, bracket, head numbers
  static constexpr double header_gap = 8;      ///< above a header within the grid
  static constexpr double note_height = 20;    ///< which part of the heads is shown

  /// A line beside the rows, from an owner to the last layer that reads its cache.
  struct Lane {
    int64_t owner = 0, last_reader = 0;
    size_t place = 0;  ///< 0: next to the cells
  };

  /// Fits the heads into `width` x `height` px, cells as large as possible.
  AtlasPlan(const AtlasData&, const AtlasState&, const Layout&, double width, double height);

  double cell() const { return cell_; }
  double gap() const { return gap_; }
  double row_pitch() const { return row_pitch_; }
  double gutter() const { return gutter_; }            ///< px left of the first cell
  double label_width() const { return label_width_; }  ///< of the layers' names in the gutter
  double width() const { return gutter_ + grid_width(heads_); }
  bool shows_maps() const { return cell_ >= 24; }  ///< below, a cell shows the metric as colour
  bool has_captions() const { return cell_ >= 64; }
  bool one_line_labels() const { return cell_ < 32; }
  const std::vector<Lane>& lanes() const { return lanes_; }

  int64_t first_layer() const { return first_layer_; }
  int64_t end_layer() const { return first_layer_ + layers_; }
  int64_t first_head() const { return first_head_; }
  int64_t end_head(int64_t layer) const;
  bool shows(int64_t layer, int64_t head) const;
  /// "layers 0-7 of 32 shown", or empty when all are.
  std::string scroll_note() const;

  /// Left edge of a head's cell, from that of the first visible head.
  double head_x(int64_t layer, int64_t head) const;
  /// Whether the row needs a header above it: the first one, and any grouped unlike the one before.
  bool has_header(int64_t layer) const;
  std::string layer_label(int64_t layer) const;
  std::string owner_label(int64_t layer) const;
  int64_t group_size(int64_t layer) const { return at(layer).q_heads / at(layer).kv_heads; }
  bool reads_other(int64_t layer) const { return at(layer).kv_owner != layer; }
  /// Most cells that a map has on a side.
  int64_t map_cells() const;

 private:
  const AtlasLayer& at(int64_t layer) const { return data_.layers[static_cast<size_t>(layer)]; }
  int64_t layer_count() const { return static_cast<int64_t>(data_.layers.size()); }
  int64_t most_heads() const;
  double grid_width(int64_t heads) const;
  double grid_height(int64_t layers) const;
  void find_lanes();
  double widest_label();
  void set_cell(double cell);
  void settle_cell(double cell);
  void show_part(const AtlasState&, double width, double height);
  void drop_cut_group();

  const AtlasData& data_;
  const Layout& layout_;
  double cell_ = smallest_cell;
  double gap_ = 2, group_gap_ = 2, row_pitch_ = 0;
  double gutter_ = 0, label_width_ = 0;
  double widest_labels_[2] = {0, 0};  ///< on two lines, on one
  bool labels_measured_[2] = {false, false};
  int64_t first_layer_ = 0, layers_ = 0, first_head_ = 0, heads_ = 0;
  std::vector<Lane> lanes_;
  size_t lane_places_ = 0;
};

}  // namespace headscope
