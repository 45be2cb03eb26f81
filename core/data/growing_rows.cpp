#include "core/data/growing_rows.h"

#include <algorithm>
#include <cstring>

namespace headscope {
namespace {

constexpr std::align_val_t alignment{64};

int64_t storage_bytes(int64_t capacity, int64_t width, Element element) {
  int64_t bytes = 0;
  if (__builtin_mul_overflow(capacity, width, &bytes) || __builtin_mul_overflow(bytes, bytes_of(element), &bytes)) {
    fail("a buffer of {} rows of {} numbers is larger than memory can address", capacity, width);
  }
  return bytes;
}

}  // namespace

RowBuffer::RowBuffer(std::shared_ptr<MemoryLedger> ledger, MemoryPurpose purpose, int64_t capacity, int64_t width,
                     Element element)
    : ledger_(std::move(ledger)),
      purpose_(purpose),
      capacity_(capacity),
      width_(width),
      element_(element),
      bytes_(storage_bytes(capacity, width, element)),
      data_(static_cast<std::byte*>(::operator new(static_cast<size_t>(bytes_), alignment))) {
  ledger_->add(purpose, bytes_);
}

RowBuffer::~RowBuffer() {
  ledger_->subtract(purpose_.load(), bytes_);
  ::operator delete(data_, alignment);
}

void RowBuffer::retire() {
  const MemoryPurpose before = purpose_.exchange(MemoryPurpose::viewer);
  if (before == MemoryPurpose::viewer) return;
  ledger_->add(MemoryPurpose::viewer, bytes_);
  ledger_->subtract(before, bytes_);
}

std::shared_ptr<RowBuffer> RowBuffer::copy(int64_t rows) const {
  auto out = std::make_shared<RowBuffer>(ledger_, purpose_.load(), capacity_, width_, element_);
  if (rows > 0) std::memcpy(out->data_, data_, static_cast<size_t>(rows * row_bytes()));
  return out;
}

void store_numbers(const float* from, int64_t count, Element element, std::byte* to) {
  if (element == Element::bf16) return to_bf16(from, count, reinterpret_cast<uint16_t*>(to));
  std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
}

GrowingRows::GrowingRows(std::shared_ptr<MemoryLedger> ledger, MemoryPurpose purpose, int64_t width,
                         int64_t first_capacity, int64_t most_rows, Element element)
    : ledger_(std::move(ledger)),
      purpose_(purpose),
      element_(element),
      width_(width),
      first_capacity_(first_capacity),
      most_rows_(most_rows) {}

void GrowingRows::append(const float* rows, int64_t count) {
  store_numbers(rows, count * width_, element_, room(count));
  publish(count);
}

std::byte* GrowingRows::room(int64_t rows) {
  const int64_t needed = rows_ + rows;
  if (needed > capacity()) {
    const int64_t grown = buffer_ ? capacity() + capacity() / 2 : first_capacity_;
    const int64_t rows_then = std::max(needed, std::min(grown, most_rows_));
    auto larger = std::make_shared<RowBuffer>(ledger_, purpose_, rows_then, width_, element_);
    if (buffer_) {
      if (rows_ > 0) std::memcpy(larger->row(0), buffer_->row(0), static_cast<size_t>(used_bytes()));
      buffer_->retire();
    }
    buffer_ = std::move(larger);
  }
  return buffer_->row(rows_);
}

GrowingRows GrowingRows::copy() const {
  GrowingRows out = *this;
  if (buffer_) out.buffer_ = buffer_->copy(rows_);
  return out;
}

void GrowingRows::publish(int64_t rows) {
  if (rows_ + rows > capacity()) throw std::logic_error("GrowingRows: published more rows than prepared");
  rows_ += rows;
}

}  // namespace headscope
