#include "core/views/kv_bars.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/base/text.h"
#include "core/views/plot/heading.h"

namespace headscope {
namespace {

constexpr double indent = 16;  ///< px of a what-if under its model
constexpr double gap = 12;     ///< px between names, bars and numbers

/// "1/12", "x 0.67" or "x 2.5": what a scheme leaves of its model's bytes.
std::string part_text(int64_t part, int64_t whole) {
  if (part == whole) return "same";
  if (part > whole) return fmt::format("x {:.3g}", static_cast<double>(part) / static_cast<double>(whole));
  if (whole % part == 0) return fmt::format("1/{}", format_count(static_cast<uint64_t>(whole / part)));
  return fmt::format("x {:.2g}", static_cast<double>(part) / static_cast<double>(whole));
}

class KvBars {
 public:
  KvBars(Figure& figure, const KvCompareData& data, const Layout& layout)
      : figure_(figure), data_(data), layout_(layout) {
    for (size_t i = 0; i < data.subjects.size(); ++i) {
      const KvSubject& subject = data.subjects[i];
      const int64_t bytes = kv_bytes_per_token(*subject.architecture, data.element_bytes);
      if (subject.scheme.empty()) of_model_ = bytes;
      rows_.push_back({i, row_name(subject), bytes, format_bytes(static_cast<uint64_t>(bytes)),
                       subject.scheme.empty() ? "" : part_text(bytes, of_model_)});
      most_ = std::max(most_, bytes);
    }
  }

  void paint(const Box& room) {
    if (room.height < 20) return;
    const auto rows = static_cast<double>(rows_.size());
    const double pitch = std::clamp(std::floor(room.height / rows), 20.0, 30.0);
    // What-ifs stand closer to their model than models to each other, where there is room for that.
    const auto gaps = static_cast<double>(kv_model_index(data_.subjects, rows_.size() - 1));
    const bool grouped = rows > gaps + 1 && gaps > 0;
    const double between = grouped ? std::clamp(std::floor((room.height - pitch * rows) / gaps), 0.0, 12.0) : 0;
    auto shown = static_cast<size_t>((room.height - between * gaps) / pitch);
    const bool all = shown >= rows_.size();
    if (!all) --shown;
    shown = std::min(shown, rows_.size());
    place_columns(room);
    if (bars_width_ < 24) return;
    double y = room.y;
    for (size_t i = 0; i < shown; ++i) {
      if (i > 0 && data_.subjects[rows_[i].subject].scheme.empty()) y += between;
      paint_row(rows_[i], room, y, pitch);
      y += pitch;
    }
    if (all) return;
    add_fitted(figure_, {room.x, y + 15}, fmt::format("and {} more", rows_.size() - shown), TextRole::caption,
               {ColourRole::dim}, Anchor::start, room.width, layout_);
  }

 private:
  struct Row {
    size_t subject;
    LineName name;
    int64_t bytes;
    std::string number, part;
  };

  /// A what-if stands under its model, whose name it leaves out.
  static LineName row_name(const KvSubject& subject) {
    if (subject.scheme.empty()) return {subject.model};
    const std::string remark = subject.counterfactual ? " (counterfactual)" : " (as it is)";
    return {fmt::format("as {}{}", subject.scheme, remark), remark};
  }

  bool is_model(const Row& row) const { return data_.subjects[row.subject].scheme.empty(); }
  double name_indent(const Row& row) const { return is_model(row) ? 0 : indent; }
  TextRole name_role(const Row& row) const { return is_model(row) ? TextRole::label : TextRole::text; }

  void place_columns(const Box& room) {
    double names = 0, numbers = 0, parts = 0;
    for (const Row& row : rows_) {
      names = std::max(names, name_indent(row) + layout_.text.width(row.name.whole, name_role(row)));
      numbers = std::max(numbers, layout_.text.width(row.number, TextRole::number));
      if (!row.part.empty()) parts = std::max(parts, layout_.text.width(row.part, TextRole::number));
    }
    names_width_ = std::min(std::ceil(names), std::floor(room.width * (room.width < 640 ? 0.5 : 0.4)));
    numbers_width_ = std::ceil(numbers);
    parts_width_ = room.width >= 400 ? std::ceil(parts) : 0;
    const double right = numbers_width_ + gap + (parts_width_ > 0 ? parts_width_ + gap : 0);
    bars_x_ = room.x + names_width_ + gap;
    bars_width_ = room.right() - right - bars_x_;
  }

  void paint_row(const Row& row, const Box& room, double y, double pitch) {
    const KvSubject& subject = data_.subjects[row.subject];
    const Paint paint{ColourRole::model_a};  // one for all: their lengths are what differs
    const double height = std::min(18.0, pitch - 6), top = std::round(y + (pitch - height) / 2);
    const double baseline = top + height / 2 + 5;
    const double width =
        std::max(2.0, bars_width_ * static_cast<double>(row.bytes) / static_cast<double>(std::max<int64_t>(1, most_)));
    const double shift = name_indent(row);
    const double width_of_name = names_width_ - shift;
    add_fitted(figure_, {room.x + shift, baseline}, row.name.fitted(name_role(row), width_of_name, layout_.text),
               name_role(row), {is_model(row) ? ColourRole::text : ColourRole::dim}, Anchor::start, width_of_name + 1,
               layout_);
    const HitRegion hit{
        fmt::format("kv/subject/{}", row.subject),
        fmt::format("{}\n{}", subject.label(), kv_equation(*subject.architecture, data_.element_bytes))};
    const Box bar{bars_x_, top, width, height};
    if (subject.counterfactual) {
      figure_.add(RectMark{bar, Paint{paint.role, 0.18}, paint, 1.5}, hit);
    } else {
      figure_.add(RectMark{bar, paint, {}}, hit);
    }
    double right = room.right();
    if (parts_width_ > 0) {
      add_fitted(figure_, {right, baseline}, row.part, TextRole::number, {ColourRole::dim}, Anchor::end,
                 parts_width_ + 1, layout_);
      right -= parts_width_ + gap;
    }
    add_fitted(figure_, {right, baseline}, row.number, TextRole::number, {ColourRole::text}, Anchor::end,
               numbers_width_ + 1, layout_);
  }

  Figure& figure_;
  const KvCompareData& data_;
  const Layout& layout_;
  std::vector<Row> rows_;
  int64_t most_ = 0, of_model_ = 0;
  double names_width_ = 0, numbers_width_ = 0, parts_width_ = 0, bars_x_ = 0, bars_width_ = 0;
};

}  // namespace

size_t kv_model_index(std::span<const KvSubject> subjects, size_t subject) {
  size_t models = 0;
  for (size_t i = 0; i <= subject; ++i) models += subjects[i].scheme.empty() ? 1 : 0;
  return models == 0 ? 0 : models - 1;
}

size_t kv_line_style(std::span<const KvSubject> subjects, size_t subject) {
  const bool single = kv_model_index(subjects, subjects.size() - 1) == 0;
  return single ? subject : kv_model_index(subjects, subject);
}

Paint kv_paint(size_t model) {
  constexpr std::array roles{ColourRole::model_a,    ColourRole::model_b,    ColourRole::category_1,
                             ColourRole::category_3, ColourRole::category_4, ColourRole::category_2,
                             ColourRole::category_6, ColourRole::category_5};
  return {roles[model % roles.size()]};
}

MarkShape kv_mark(size_t model) {
  constexpr size_t colours = 8;
  return static_cast<MarkShape>((model + model / colours) % mark_shapes);
}

void add_kv_bars(Figure& figure, const Box& room, const KvCompareData& data, const Layout& layout) {
  KvBars(figure, data, layout).paint(room);
}

}  // namespace headscope
