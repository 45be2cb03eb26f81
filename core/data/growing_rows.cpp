#include "core/data/growing_rows.h"

#include <algorithm>

namespace headscope {
namespace {

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
      on_host_(ledger_->device().is_host()),
      bytes_(storage_bytes(capacity, width, element)),
      data_(ledger_->device().allocate(static_cast<size_t>(bytes_))) {
  ledger_->add(purpose, bytes_);
}

RowBuffer::~RowBuffer() {
  ledger_->subtract(purpose_.load(), bytes_);
  ledger_->device().release(data_, static_cast<size_t>(bytes_));
}

void RowBuffer::retire() {
  const MemoryPurpose before = purpose_.exchange(MemoryPurpose::viewer);
  if (before == MemoryPurpose::viewer) return;
  ledger_->add(MemoryPurpose::viewer, bytes_);
  ledger_->subtract(before, bytes_);
}

std::shared_ptr<RowBuffer> RowBuffer::copy(int64_t rows) const {
  auto out = std::make_shared<RowBuffer>(ledger_, purpose_.load(), capacity_, width_, element_);
  if (rows > 0) device().copy(out->data_, data_, static_cast<size_t>(rows * row_bytes()));
  return out;
}

void store_numbers(const Device& device, const float* from, int64_t count, Element element, std::byte* to) {
  if (element == Element::f32) return device.copy(to, from, static_cast<size_t>(count) * sizeof(float));
  if (!device.is_host()) throw std::logic_error("store_numbers: only the host rounds to bf16");
  to_bf16(from, count, reinterpret_cast<uint16_t*>(to));
}

RowsView RowsView::on_host(int64_t first, int64_t count, void* stream) const {
  if (device().is_host() && first == 0 && count == rows) return *this;
  auto copy =
      std::make_shared<RowBuffer>(std::make_shared<MemoryLedger>(), MemoryPurpose::viewer, count, width(), element());
  if (count > 0) {
    device().copy(copy->row(0), buffer->row(first), static_cast<size_t>(count * buffer->row_bytes()), stream);
  }
  return {std::move(copy), count};
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
  store_numbers(ledger_->device(), rows, count * width_, element_, room(count));
  publish(count);
}

void GrowingRows::append_as_is(const void* rows, int64_t count) {
  ledger_->device().copy(room(count), rows, static_cast<size_t>(count * row_bytes()));
  publish(count);
}

std::byte* GrowingRows::room(int64_t rows) {
  const int64_t needed = rows_ + rows;
  if (needed > capacity()) {
    auto larger = std::make_shared<RowBuffer>(ledger_, purpose_, capacity_with(needed), width_, element_);
    if (buffer_) {
      if (rows_ > 0) ledger_->device().copy(larger->row(0), buffer_->row(0), static_cast<size_t>(used_bytes()));
      buffer_->retire();
    }
    buffer_ = std::move(larger);
  }
  return buffer_->row(rows_);
}

int64_t GrowingRows::capacity_with(int64_t rows) const {
  if (rows <= capacity()) return capacity();
  const int64_t grown = buffer_ ? capacity() + capacity() / 2 : first_capacity_;
  return std::max(rows, std::min(grown, most_rows_));
}

GrowingRows GrowingRows::copy() const {
  GrowingRows out = *this;
  if (buffer_) out.buffer_ = buffer_->copy(rows_);
  return out;
}

RowsPlace GrowingRows::place_of_next() {
  room(1);
  return {buffer_->row(0), 0, capacity(), width_, element_};
}

void GrowingRows::publish(int64_t rows) {
  if (rows_ + rows > capacity()) throw std::logic_error("GrowingRows: published more rows than prepared");
  rows_ += rows;
}

}  // namespace headscope
