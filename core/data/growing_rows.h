#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <utility>

#include "core/base/error.h"
#include "core/data/memory.h"
#include "kernels/attention.h"

namespace headscope {

/// Storage for a fixed number of rows, f32 or bf16, 64-byte aligned, in the memory of the ledger's device and counted
/// in it for as long as it lives.
class RowBuffer {
 public:
  RowBuffer(std::shared_ptr<MemoryLedger> ledger, MemoryPurpose purpose, int64_t capacity, int64_t width,
            Element element = Element::f32);
  ~RowBuffer();
  RowBuffer(const RowBuffer&) = delete;
  RowBuffer& operator=(const RowBuffer&) = delete;

  std::byte* row(int64_t index) { return data_ + index * row_bytes(); }
  const std::byte* row(int64_t index) const { return data_ + index * row_bytes(); }
  const Device& device() const { return ledger_->device(); }
  bool on_host() const { return on_host_; }
  Element element() const { return element_; }
  int64_t row_bytes() const { return width_ * bytes_of(element_); }
  int64_t capacity() const { return capacity_; }
  int64_t width() const { return width_; }
  /// Size of the storage itself.
  int64_t bytes() const { return bytes_; }
  /// From now on these bytes are kept for viewers only.
  void retire();
  /// A buffer of the same size whose first `rows` rows are equal.
  std::shared_ptr<RowBuffer> copy(int64_t rows) const;

 private:
  std::shared_ptr<MemoryLedger> ledger_;
  std::atomic<MemoryPurpose> purpose_;
  int64_t capacity_, width_;
  Element element_;
  bool on_host_;
  int64_t bytes_;
  std::byte* data_;
};

/// Writes `count` f32 numbers as `element`: bf16 are rounded to nearest, ties to even. Memory of a device that is not
/// the host takes what is of its element already.
void store_numbers(const Device&, const float* from, int64_t count, Element element, std::byte* to);

/// The first `rows` rows of a buffer, immutable: cheap to copy, safe to read on any thread, keeps its buffer alive. On
/// a device that is not the host, its numbers are read by its kernels, or from a copy.
struct RowsView {
  std::shared_ptr<const RowBuffer> buffer;
  int64_t rows = 0;

  int64_t width() const { return buffer ? buffer->width() : 0; }
  Element element() const { return buffer ? buffer->element() : Element::f32; }
  /// The host's own: of f32 rows, and one number of rows of either type.
  const float* row(int64_t index) const { return reinterpret_cast<const float*>(host_row(index)); }
  float at(int64_t index, int64_t column) const {
    const std::byte* numbers = host_row(index);
    return InputRows(numbers, 0, 0, width(), element()).at(0, 0, 0, column);
  }
  /// As kernels of the device take them.
  InputRows input() const { return {buffer->row(0), 0, 0, width(), element()}; }
  const Device& device() const { return buffer->device(); }
  /// `count` rows from `first` on, in the host's memory: a copy where they are not there, which waits for the stream.
  RowsView on_host(int64_t first, int64_t count, void* stream = nullptr) const;

 private:
  const std::byte* host_row(int64_t index) const {
    if (!buffer->on_host()) throw std::logic_error("RowsView: rows of a device are read from a copy");
    return buffer->row(index);
  }
};

/// Where rows of a sequence lie, one after the other: row `first` at `data`.
struct RowsPlace {
  std::byte* data = nullptr;
  int64_t first = 0;
  int64_t capacity = 0;  ///< rows that there is room for
  int64_t width = 0;
  Element element = Element::f32;

  bool operator==(const RowsPlace&) const = default;
};

/// Append-only rows [rows, width], f32 or bf16, row after row without gaps, so kernels see plain strides. One thread
/// appends; views taken earlier never change. A full buffer is copied once into one 1.5 times larger.
class GrowingRows {
 public:
  GrowingRows() = default;
  /// `most_rows`: there never are more, so no room is made for them.
  GrowingRows(std::shared_ptr<MemoryLedger> ledger, MemoryPurpose purpose, int64_t width, int64_t first_capacity,
              int64_t most_rows = INT64_MAX, Element element = Element::f32);

  /// Copies rows [count, width] behind what is there: f32 rows, rounded where these are bf16.
  void append(const float* rows, int64_t count);
  /// The same of rows that are of this element already.
  void append_as_is(const void* rows, int64_t count);
  /// Of f32 rows of the host: makes room for `rows` more and returns where to write them; they count after
  /// `publish(rows)`.
  float* prepare(int64_t rows) {
    if (element_ != Element::f32) throw std::logic_error("GrowingRows: rows of bf16 are appended");
    return reinterpret_cast<float*>(room(rows));
  }
  void publish(int64_t rows);
  /// Makes room for one more row, which the device writes, and returns where all rows lie; it counts after publish(1).
  RowsPlace place_of_next();
  /// Takes back the newest rows, down to `rows`; only for rows that no view has seen.
  void truncate(int64_t rows) { rows_ = rows < rows_ ? rows : rows_; }

  int64_t rows() const { return rows_; }
  int64_t width() const { return width_; }
  int64_t row_bytes() const { return width_ * bytes_of(element_); }
  int64_t capacity() const { return buffer_ ? buffer_->capacity() : 0; }
  /// What capacity() will be when there is room for so many rows.
  int64_t capacity_with(int64_t rows) const;
  /// Bytes of the written rows, and of the whole current storage.
  int64_t used_bytes() const { return rows_ * row_bytes(); }
  int64_t allocated_bytes() const { return buffer_ ? buffer_->bytes() : 0; }
  RowsView view() const { return {buffer_, rows_}; }
  /// The same rows in storage of their own.
  GrowingRows copy() const;

 private:
  std::byte* room(int64_t rows);

  std::shared_ptr<MemoryLedger> ledger_;
  MemoryPurpose purpose_ = MemoryPurpose::viewer;
  Element element_ = Element::f32;
  int64_t width_ = 0;
  int64_t first_capacity_ = 0, most_rows_ = INT64_MAX;
  int64_t rows_ = 0;
  std::shared_ptr<RowBuffer> buffer_;
};

}  // namespace headscope
