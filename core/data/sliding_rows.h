#pragma once

#include <cstdint>
#include <memory>

#include "core/data/growing_rows.h"

namespace headscope {

/// The last rows of a sequence that goes on, [rows held, width], f32 or bf16, row after row without gaps: the cache of
/// a sliding window. The last `window` rows are held, and those that are being written, at most `most_at_once`. Where
/// the room ends, the window is moved to its start.
///
/// One thread owns it. Rows are overwritten, so nobody else may hold them.
class SlidingRows {
 public:
  SlidingRows() = default;
  /// The buffer starts with room for `first_capacity` rows, but not for more than the window and the larger of another
  /// one and the rows that come first: then moving costs less than a row for each that is written. It grows by half to
  /// as much (below three windows), and beyond, to `window` + `most_at_once` rows at most, only for rows that come at
  /// once.
  SlidingRows(std::shared_ptr<MemoryLedger> ledger, int64_t width, int64_t window, int64_t most_at_once,
              int64_t first_capacity, Element element = Element::f32);

  /// Copies rows [count, width], at most `most_at_once`, behind what is there: f32 rows, rounded where these are bf16.
  void append(const float* rows, int64_t count);
  /// The same of rows that are of this element already.
  void append_as_is(const void* rows, int64_t count);
  /// Makes room for `rows` more rows, at most `most_at_once`, behind the last `window` ones and returns where to
  /// write them; they count after `publish(rows)`.
  std::byte* prepare(int64_t rows);
  void publish(int64_t rows) { end_ += rows; }
  /// Makes room for one more row, which the device writes, and returns where all rows lie; it counts after publish(1).
  RowsPlace place_of_next();
  /// Takes back the newest rows, down to `rows` of the sequence.
  void truncate(int64_t rows);

  int64_t rows() const { return end_; }     ///< of the sequence so far
  int64_t first() const { return begin_; }  ///< the first that is held
  const std::byte* row(int64_t index) const { return buffer_->row(index - begin_); }
  int64_t capacity() const { return buffer_ ? buffer_->capacity() : 0; }
  /// Bytes of the rows in the window, and of the whole storage.
  int64_t used_bytes() const;
  int64_t allocated_bytes() const { return buffer_ ? buffer_->bytes() : 0; }
  /// The same rows in storage of their own.
  SlidingRows copy() const;

 private:
  int64_t room_for(int64_t rows, int64_t needed) const;
  void move_to(RowBuffer& target, int64_t keep);

  std::shared_ptr<MemoryLedger> ledger_;
  Element element_ = Element::f32;
  int64_t width_ = 0, window_ = 0, most_rows_ = 0, first_capacity_ = 0;
  int64_t begin_ = 0, end_ = 0;  ///< rows of the sequence that are held
  std::shared_ptr<RowBuffer> buffer_;
};

}  // namespace headscope
