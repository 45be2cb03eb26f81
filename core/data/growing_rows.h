#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "core/base/error.h"
#include "core/data/memory.h"

namespace headscope {

/// Storage for a fixed number of f32 rows, 64-byte aligned and counted in a ledger for as long as it lives.
class RowBuffer {
 public:
  RowBuffer(std::shared_ptr<MemoryLedger> ledger, MemoryPurpose purpose, int64_t capacity, int64_t width);
  ~RowBuffer();
  RowBuffer(const RowBuffer&) = delete;
  RowBuffer& operator=(const RowBuffer&) = delete;

  float* data() { return data_; }
  const float* data() const { return data_; }
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
  int64_t capacity_, width_, bytes_;
  float* data_;
};

/// The first `rows` rows of a buffer, immutable: cheap to copy, safe to read on any thread, keeps its buffer alive.
struct RowsView {
  std::shared_ptr<const RowBuffer> buffer;
  int64_t rows = 0;

  int64_t width() const { return buffer ? buffer->width() : 0; }
  const float* row(int64_t index) const { return buffer->data() + index * buffer->width(); }
};

/// Append-only rows [rows, width], f32, row after row without gaps, so kernels see plain strides. One thread
/// appends; views taken earlier never change. A full buffer is copied once into one 1.5 times larger.
class GrowingRows {
 public:
  GrowingRows() = default;
  /// `most_rows`: there never are more, so no room is made for them.
  GrowingRows(std::shared_ptr<MemoryLedger> ledger, MemoryPurpose purpose, int64_t width, int64_t first_capacity,
              int64_t most_rows = INT64_MAX);

  /// Makes room for `rows` more rows and returns where to write them; they count after `publish(rows)`.
  float* prepare(int64_t rows);
  void publish(int64_t rows);
  /// Takes back the newest rows, down to `rows`; only for rows that no view has seen.
  void truncate(int64_t rows) { rows_ = rows < rows_ ? rows : rows_; }

  int64_t rows() const { return rows_; }
  int64_t width() const { return width_; }
  int64_t row_bytes() const { return width_ * static_cast<int64_t>(sizeof(float)); }
  int64_t capacity() const { return buffer_ ? buffer_->capacity() : 0; }
  /// Bytes of the written rows, and of the whole current storage.
  int64_t used_bytes() const { return rows_ * row_bytes(); }
  int64_t allocated_bytes() const { return buffer_ ? buffer_->bytes() : 0; }
  RowsView view() const { return {buffer_, rows_}; }
  /// The same rows in storage of their own.
  GrowingRows copy() const;

 private:
  std::shared_ptr<MemoryLedger> ledger_;
  MemoryPurpose purpose_ = MemoryPurpose::viewer;
  int64_t width_ = 0;
  int64_t first_capacity_ = 0, most_rows_ = INT64_MAX;
  int64_t rows_ = 0;
  std::shared_ptr<RowBuffer> buffer_;
};

}  // namespace headscope
