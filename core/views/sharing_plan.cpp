#include "core/views/sharing_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace headscope {
namespace {

const char* plural(int64_t count) { return count == 1 ? "" : "s"; }

/// "8 query heads read 4 KV heads in each of 5 layers."
std::string sharing_sentence(const Architecture& a) {
  const int64_t layers = a.layer_count(), q = a.layers.front().q_heads, kv = a.store_of(0).kv_heads;
  bool even = true;
  int64_t readers = 0;
  for (int64_t l = 0; l < layers; ++l) {
    even &= a.layers[static_cast<size_t>(l)].q_heads == q && a.store_of(l).kv_heads == kv;
    readers += !a.owns_cache(l);
  }
  const std::string where = layers == 1 ? "in the only layer" : fmt::format("in each of {} layers", layers);
  std::string out;
  if (!even) {
    out = fmt::format("{} layers that group their query heads differently", layers);
  } else if (q == kv) {
    out = q == 1 ? fmt::format("One query head with its own KV head {}", where)
                 : fmt::format("{} query heads, each with its own KV head, {}", q, where);
  } else if (a.store_of(0).stored == Stored::latent) {
    out = fmt::format("{} query heads read one latent {}", q, where);
  } else {
    out = fmt::format("{} query heads read {} KV head{} {}", q, kv == 1 ? "one" : fmt::format("{}", kv), plural(kv),
                      where);
  }
  if (readers > 0) {
    out += fmt::format("; {} layer{} read{} another layer's cache", readers, plural(readers), readers == 1 ? "s" : "");
  }
  return fmt::format("{}{}.", out, stored_remark(a));
}

}  // namespace

SharingPlan::SharingPlan(const Architecture& architecture, double width, double height)
    : architecture_(architecture), sentence_(sharing_sentence(architecture)) {
  // How many lines it takes is known without a font: letters are 6.8 px on average at most.
  const double inner = std::max(1.0, width - 2 * margin);
  sentence_lines_ =
      static_cast<size_t>(std::clamp(std::ceil(static_cast<double>(sentence_.size()) * 6.8 / inner), 1.0, 3.0));
  rows_y_ = margin + line_height * static_cast<double>(sentence_lines_) + 8;
  place_windows(inner);
  place_key(inner);
  choose_rows(height);
  find_lanes();
  place_heads(inner - windows_width_);
  height_ = row_y(rows_.size()) + 4 + line_height * static_cast<double>(key_.size() + (note_.empty() ? 0 : 1)) + margin;
}

std::string SharingPlan::label(const Row& row) const {
  const bool many = row.last > row.first, again = row.end - row.first > row.period;
  if (again && row.period > 1) {
    const int64_t next = row.first + row.period;
    const int64_t end = row.first + (row.end - 1 - row.first) / row.period * row.period;
    if (many)
      return fmt::format("{}-{},{}-{}{}", row.first, row.last, next, row.last + row.period, end > next ? ".." : "");
    return end > next ? fmt::format("{},{}..{}", row.first, next, end) : fmt::format("{},{}", row.first, next);
  }
  const int64_t last = again ? row.end - 1 : row.last;
  if (last == row.first) return fmt::format("{}{}", long_labels_ ? "layer " : "", row.first);
  return fmt::format("{}{}-{}", long_labels_ ? "layers " : "", row.first, last);
}

/// Whether two layers look the same: heads, window, what is stored and how far above the owner is.
bool SharingPlan::alike(int64_t a, int64_t b) const {
  const KvStore &one = architecture_.store_of(a), &other = architecture_.store_of(b);
  return q_heads(a) == q_heads(b) && kv_heads(a) == kv_heads(b) && a - at(a).kv_owner == b - at(b).kv_owner &&
         at(a).window == at(b).window && one.stored == other.stored &&
         architecture_.rotated_on_read(one) == architecture_.rotated_on_read(other);
}

/// A block is an owner and the readers that follow it.
int64_t SharingPlan::block_end(int64_t begin) const {
  int64_t end = begin + 1;
  while (end < architecture_.layer_count() && reads_other(end)) ++end;
  return end;
}

void SharingPlan::list_all_rows() {
  rows_.clear();
  for (int64_t l = 0; l < architecture_.layer_count(); ++l) rows_.push_back({l, l, 1, l + 1});
}

/// Whether the layers of a pattern come again right after it, cut into blocks alike.
bool SharingPlan::repeats(int64_t begin, int64_t size) const {
  const int64_t layers = architecture_.layer_count(), again = begin + size;
  if (again + size > layers || (again + size < layers && reads_other(again + size))) return false;
  for (int64_t i = 0; i < size; ++i) {
    if (!alike(begin + i, again + i)) return false;
  }
  return true;
}

/// The end of the pattern, with its repeats.
int64_t SharingPlan::repeats_end(int64_t begin, int64_t size) const {
  while (repeats(begin, size)) begin += size;
  return begin + size;
}

/// The pattern that begins here is the row of blocks whose repeats reach furthest, as in layers that alternate; the
/// shortest of several, and a single block where nothing repeats.
int64_t SharingPlan::pattern_end(int64_t begin) const {
  constexpr int most_blocks = 8;
  int64_t best = block_end(begin), furthest = repeats_end(begin, best - begin);
  int64_t end = best;
  for (int blocks = 1; blocks < most_blocks && end < architecture_.layer_count(); ++blocks) {
    end = block_end(end);
    const int64_t reached = repeats_end(begin, end - begin);
    if (reached <= std::max(furthest, end)) continue;
    best = end;
    furthest = reached;
  }
  return best;
}

/// A row for what differs: equal patterns that follow each other are drawn once.
void SharingPlan::list_unlike_rows() {
  rows_.clear();
  for (int64_t begin = 0; begin < architecture_.layer_count();) {
    const int64_t size = pattern_end(begin) - begin;
    const int64_t end = repeats_end(begin, size);
    add_pattern(begin, size, end);
    begin = end;
  }
}

/// Within a pattern, neighbours are one row: readers of one owner, and owners that nobody else reads.
void SharingPlan::add_pattern(int64_t begin, int64_t size, int64_t end) {
  const auto joins = [&](int64_t l, int64_t next) {
    if (next >= begin + size || q_heads(next) != q_heads(l) || at(next).window != at(l).window) return false;
    if (reads_other(l)) return at(next).kv_owner == at(l).kv_owner;
    return alike(next, l) && block_end(l) == l + 1 && block_end(next) == next + 1;
  };
  for (int64_t l = begin; l < begin + size;) {
    int64_t last = l;
    while (joins(l, last + 1)) ++last;
    rows_.push_back({l, last, size, end});
    l = last + 1;
  }
}

bool SharingPlan::fits_rows(double room) {
  for (const double pitch : {32.0, 28.0, 24.0}) {
    row_pitch_ = pitch;
    if (pitch * static_cast<double>(rows_.size()) <= room) return true;
  }
  return false;
}

void SharingPlan::choose_rows(double height) {
  const double room = height - rows_y_ - 4 - line_height * static_cast<double>(key_.size()) - margin;
  list_all_rows();
  if (fits_rows(room)) return;
  list_unlike_rows();
  if (fits_rows(room)) return;
  const auto shown = std::max<size_t>(1, static_cast<size_t>(std::max(0.0, (room - line_height) / row_pitch_)));
  if (shown >= rows_.size()) return;
  const int64_t last = rows_[shown].first - 1;
  note_ =
      fmt::format("layer{} of {} shown", last == 0 ? " 0" : fmt::format("s 0-{}", last), architecture_.layer_count());
  rows_.resize(shown);
}

/// Two lines of items at most; others are left out.
void SharingPlan::place_key(double width) {
  double left = 0;
  for (SharingKeyItem& item : sharing_key(architecture_)) {
    if (item.sign == SharingKeyItem::Sign::window && !windows_drawn()) continue;
    if (key_.empty() || item.width() > left) {
      if (key_.size() == 2) return;
      key_.emplace_back();
      left = width;
    }
    left -= item.width();
    key_.back().push_back(std::move(item));
  }
}

void SharingPlan::place_windows(double width) {
  constexpr double gap = 10, least_left = 160, least_for_signs = 400;
  if (!has_windows(architecture_)) return;
  size_t longest = 0;
  for (const Layer& layer : architecture_.layers) longest = std::max(longest, window_text(layer).size());
  windows_drawn_ = width >= least_for_signs;
  const double wanted = gap + glyph_width * static_cast<double>(longest) + (windows_drawn_ ? window_sign_width + 6 : 0);
  if (width - wanted >= least_left) windows_width_ = wanted;
}

void SharingPlan::find_lanes() {
  for (size_t r = 0; r < rows_.size(); ++r) {
    if (!reads_other(rows_[r].first)) continue;
    const int64_t owner = at(rows_[r].first).kv_owner;
    const auto row = std::find_if(rows_.begin(), rows_.end(), [&](const Row& other) { return other.covers(owner); });
    const auto index = static_cast<size_t>(row - rows_.begin());
    auto lane = std::find_if(lanes_.begin(), lanes_.end(), [&](const Lane& other) { return other.owner == index; });
    if (lane == lanes_.end()) lane = lanes_.insert(lane, {index, {}, 0});
    lane->readers.push_back(r);
  }
  std::sort(lanes_.begin(), lanes_.end(), [](const Lane& a, const Lane& b) { return a.owner < b.owner; });
  // Lines whose rows overlap lie side by side.
  std::vector<size_t> free_from;
  for (Lane& lane : lanes_) {
    while (lane.place < free_from.size() && free_from[lane.place] > lane.owner) ++lane.place;
    if (lane.place == free_from.size()) free_from.push_back(0);
    free_from[lane.place] = lane.readers.back() + 1;
  }
  lane_places_ = free_from.size();
}

/// Widths of a head that the widest row takes when groups are `between` heads further apart.
double SharingPlan::most_units(double between) const {
  double most = 1;
  for (const Row& row : rows_) {
    const auto groups = static_cast<double>(shown_kv_heads(row.first)),
               group = static_cast<double>(group_size(row.first));
    most = std::max(most, groups * group + (group > 1 ? (groups - 1) * between : 0));
  }
  return most;
}

void SharingPlan::place_heads(double width) {
  constexpr double roomy = 8, widest = 36;
  for (const bool long_labels : {true, false}) {
    long_labels_ = long_labels;
    size_t longest = 0;
    for (const Row& row : rows_) longest = std::max(longest, label(row).size());
    label_right_ = margin + std::min(width / 2, glyph_width * static_cast<double>(longest));
    dots_x_ = label_right_ + 12 + lane_width * static_cast<double>(lane_places_);
    dots_width_ = std::max(smallest_pitch, margin + width - dots_x_);
    pitch_ = std::min(widest, dots_width_ / most_units(1));
    if (pitch_ >= roomy) break;
  }
  between_ = pitch_;
  if (pitch_ < roomy) {
    pitch_ = std::min(roomy, dots_width_ / most_units(0.5));
    between_ = pitch_ / 2;
  }
  for (const Row& row : rows_) {
    const int64_t shown = shown_kv_heads(row.first), all = kv_heads(row.first);
    if (shown == all) continue;
    note_ += fmt::format("{}KV heads 0-{} of {} shown", note_.empty() ? "" : ", ", shown - 1, all);
    break;
  }
}

/// KV heads get 3 px at least, or the last ones are left out.
int64_t SharingPlan::shown_kv_heads(int64_t layer) const {
  return std::clamp(static_cast<int64_t>(dots_width_ / smallest_pitch), int64_t{1}, kv_heads(layer));
}

double SharingPlan::query_x(int64_t layer, int64_t head) const {
  const int64_t group = group_size(layer);
  const double between = group > 1 ? between_ * static_cast<double>(head / group) : 0;
  return dots_x_ + (static_cast<double>(head) + 0.5) * pitch_ + between;
}

double SharingPlan::kv_x(int64_t layer, int64_t kv_head) const {
  const int64_t group = group_size(layer);
  return (query_x(layer, kv_head * group) + query_x(layer, (kv_head + 1) * group - 1)) / 2;
}

double SharingPlan::kv_slot(int64_t layer) const {
  const int64_t group = group_size(layer);
  return pitch_ * static_cast<double>(group) + (group > 1 ? between_ : 0);
}

}  // namespace headscope
