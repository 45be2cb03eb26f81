#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/arch/architecture.h"
#include "core/views/sharing_cells.h"

namespace headscope {

/// Where everything of the sharing figure goes. Internal to it. Refers to the architecture, which must outlive it.
class SharingPlan {
 public:
  static constexpr double margin = 4;
  static constexpr double line_height = 18;   ///< of a line of words
  static constexpr double glyph_width = 6.6;  ///< px of a letter of TextRole::number_small, a monospace face
  static constexpr double lane_width = 8;

  /// Layers first to last, and those that lie `period` further, up to `end`.
  struct Row {
    int64_t first = 0, last = 0;
    int64_t period = 1, end = 1;

    bool covers(int64_t layer) const {
      return layer >= first && layer < end && (layer - first) % period <= last - first;
    }
  };

  /// A line from an owner's row down to the rows that read its cache.
  struct Lane {
    size_t owner = 0;  ///< row
    std::vector<size_t> readers;
    size_t place = 0;  ///< 0: next to the dots
  };

  SharingPlan(const Architecture&, double width, double height);

  double height() const { return height_; }  ///< px that it takes
  const std::string& sentence() const { return sentence_; }
  size_t sentence_lines() const { return sentence_lines_; }
  const std::vector<Row>& rows() const { return rows_; }
  /// "layer 3", "layers 0-31", "0,2..30"
  std::string label(const Row&) const;
  /// What is left out, or empty.
  const std::string& note() const { return note_; }
  const std::vector<Lane>& lanes() const { return lanes_; }

  double row_pitch() const { return row_pitch_; }
  double row_y(size_t row) const { return rows_y_ + static_cast<double>(row) * row_pitch_; }
  double query_y(size_t row) const { return row_y(row) + 7; }
  double kv_y(size_t row) const { return row_y(row) + row_pitch_ - 9; }
  double label_right() const { return label_right_; }
  double dots_x() const { return dots_x_; }
  double lane_x(const Lane& lane) const { return dots_x_ - 10 - lane_width * static_cast<double>(lane.place); }

  int64_t q_heads(int64_t layer) const { return at(layer).q_heads; }
  int64_t kv_heads(int64_t layer) const { return architecture_.store_of(layer).kv_heads; }
  int64_t group_size(int64_t layer) const { return q_heads(layer) / kv_heads(layer); }
  /// Px at the right for the window of each layer; 0 where no layer has one, or the figure has no room.
  double windows_width() const { return windows_width_; }
  bool windows_drawn() const { return windows_width_ > 0 && windows_drawn_; }  ///< as signs, too
  /// Lines of the key, and which items are in each.
  const std::vector<std::vector<SharingKeyItem>>& key() const { return key_; }

  bool reads_other(int64_t layer) const { return at(layer).kv_owner != layer; }
  int64_t shown_kv_heads(int64_t layer) const;
  double pitch() const { return pitch_; }                        ///< px a query head
  bool heads_apart() const { return pitch_ >= smallest_pitch; }  ///< each query head is a dot of its own
  double query_x(int64_t layer, int64_t head) const;             ///< centre
  double kv_x(int64_t layer, int64_t kv_head) const;             ///< centre
  double kv_slot(int64_t layer) const;                           ///< px from one KV head to the next

 private:
  static constexpr double smallest_pitch = 3;

  const Layer& at(int64_t layer) const { return architecture_.layers[static_cast<size_t>(layer)]; }
  bool alike(int64_t a, int64_t b) const;
  int64_t block_end(int64_t begin) const;
  void list_all_rows();
  void list_unlike_rows();
  void add_pattern(int64_t begin, int64_t size, int64_t end);
  bool fits_rows(double room);
  void choose_rows(double height);
  void place_key(double width);
  void place_windows(double width);
  int64_t pattern_end(int64_t begin) const;
  int64_t repeats_end(int64_t begin, int64_t size) const;
  bool repeats(int64_t begin, int64_t size) const;
  void find_lanes();
  void place_heads(double width);
  double most_units(double between) const;

  const Architecture& architecture_;
  std::string sentence_, note_;
  size_t sentence_lines_ = 1;
  std::vector<Row> rows_;
  std::vector<Lane> lanes_;
  size_t lane_places_ = 0;
  bool long_labels_ = true;
  double height_ = 0, rows_y_ = 0, row_pitch_ = 0, label_right_ = 0, dots_x_ = 0;
  double pitch_ = 0, between_ = 0;  ///< px a query head, and more between groups
  double dots_width_ = 0;
  double windows_width_ = 0;
  bool windows_drawn_ = false;
  std::vector<std::vector<SharingKeyItem>> key_;
};

}  // namespace headscope
