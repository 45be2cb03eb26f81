#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>

namespace headscope::testing {

/// Memory for `count` elements between two guard bands, 64-byte aligned at its first element. It starts filled
/// with a pattern that is NaN as a float, so an element nobody wrote, or a guard somebody did, is noticed.
template <class T>
class Guarded {
 public:
  explicit Guarded(size_t count) : count_(count), bytes_((count * sizeof(T) + 63) / 64 * 64 + 2 * band) {
    memory_ = static_cast<std::byte*>(::operator new (bytes_, std::align_val_t{64}));
    std::memset(memory_, pattern, bytes_);
  }
  ~Guarded() { ::operator delete (memory_, std::align_val_t{64}); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return reinterpret_cast<T*>(memory_ + band); }
  size_t size() const { return count_; }
  std::span<T> span() { return {data(), count_}; }
  T& operator[](size_t i) { return data()[i]; }

  /// Whether both bands still hold the pattern.
  bool intact() const {
    const std::byte* end = memory_ + band + count_ * sizeof(T);
    return untouched(memory_, memory_ + band) && untouched(end, memory_ + bytes_);
  }
  /// Whether elements [begin, end) still hold the pattern.
  bool untouched(size_t begin, size_t end) const {
    return untouched(memory_ + band + begin * sizeof(T), memory_ + band + end * sizeof(T));
  }

 private:
  static constexpr size_t band = 256;
  static constexpr int pattern = 0xFF;

  static bool untouched(const std::byte* begin, const std::byte* end) {
    for (; begin != end; ++begin) {
      if (*begin != std::byte{pattern}) return false;
    }
    return true;
  }

  size_t count_;
  size_t bytes_;
  std::byte* memory_;
};

}  // namespace headscope::testing
