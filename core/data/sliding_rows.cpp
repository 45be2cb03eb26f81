#include "core/data/sliding_rows.h"

#include <algorithm>
#include <cstring>

namespace headscope {

SlidingRows::SlidingRows(std::shared_ptr<MemoryLedger> ledger, int64_t width, int64_t window, int64_t most_at_once,
                         int64_t first_capacity, Element element)
    : ledger_(std::move(ledger)),
      element_(element),
      width_(width),
      window_(window),
      most_rows_(window + most_at_once),
      first_capacity_(first_capacity) {}

/// Rows that the buffer should have, `needed` at least.
int64_t SlidingRows::room_for(int64_t rows, int64_t needed) const {
  const int64_t room = capacity();
  // From two windows on, moving costs less than a row for each that is written.
  if (needed <= room && room >= 2 * window_) return room;
  const int64_t grown = buffer_ ? room + room / 2 : std::min(first_capacity_, window_ + std::max(window_, rows));
  return std::clamp(grown, needed, most_rows_);
}

void SlidingRows::append(const float* rows, int64_t count) {
  store_numbers(ledger_->device(), rows, count * width_, element_, prepare(count));
  publish(count);
}

void SlidingRows::append_as_is(const void* rows, int64_t count) {
  ledger_->device().copy(prepare(count), rows, static_cast<size_t>(count * width_ * bytes_of(element_)));
  publish(count);
}

std::byte* SlidingRows::prepare(int64_t rows) {
  const int64_t held = end_ - begin_;
  if (held + rows <= capacity()) return buffer_->row(held);
  // The whole window, though the next row sees one less: rows that are taken back leave it whole.
  const int64_t keep = std::min(held, window_), needed = keep + rows;
  if (needed > most_rows_) throw std::logic_error("SlidingRows: more rows at once than it was made for");
  const int64_t room = room_for(rows, needed);
  // Only the host moves rows over themselves.
  if (room > capacity() || !ledger_->device().is_host()) {
    auto larger = std::make_shared<RowBuffer>(ledger_, MemoryPurpose::kv, room, width_, element_);
    move_to(*larger, keep);
    buffer_ = std::move(larger);
  } else {
    move_to(*buffer_, keep);
  }
  return buffer_->row(keep);
}

RowsPlace SlidingRows::place_of_next() {
  prepare(1);
  return {buffer_->row(0), begin_, capacity(), width_, element_};
}

void SlidingRows::move_to(RowBuffer& target, int64_t keep) {
  const int64_t first = end_ - keep;
  const auto bytes = static_cast<size_t>(keep * target.row_bytes());
  if (keep > 0 && &target == buffer_.get()) {
    std::memmove(target.row(0), row(first), bytes);
  } else if (keep > 0) {
    target.device().copy(target.row(0), row(first), bytes);
  }
  begin_ = first;
}

void SlidingRows::truncate(int64_t rows) { end_ = std::clamp(rows, begin_, end_); }

SlidingRows SlidingRows::copy() const {
  SlidingRows out = *this;
  if (buffer_) out.buffer_ = buffer_->copy(end_ - begin_);
  return out;
}

int64_t SlidingRows::used_bytes() const { return std::min(end_ - begin_, window_) * width_ * bytes_of(element_); }

}  // namespace headscope
