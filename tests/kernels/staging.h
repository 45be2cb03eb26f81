#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/kernels/device_memory.h"

namespace headscope::testing {

/// The memory of one kernel call, on the device: for each array of the host a copy of its whole extent, at the same
/// place within 64 bytes and between two guard bands. Arrays are added, then go up together; after the call they come
/// back, and the test fails where the kernel wrote into a band or an input. Bands are NaN as floats, so that what is
/// read from them shows as well.
class Staging {
 public:
  explicit Staging(const DeviceMemory& memory) : memory_(memory) {}
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// `bytes` that the kernel reads. `place` holds their address and must outlive this: `send` sets it to the device's.
  /// Null and empty arrays stay as they are, and inputs that begin at one address do so on the device: some kernels
  /// read keys that are the values once.
  template <class T>
  void input(const char* name, const T*& place, size_t bytes) {
    add(name, place, 0, {{0, bytes}}, bytes, false);
  }
  void input(const char* name, const void*& place, const ViewShape& view) {
    add(name, place, start_of(view), ranges_to_copy(view), extent_of(view), false);
  }
  /// The same of what it writes. What was there before goes up, too: some outputs are added to, and gaps must stay.
  template <class T>
  void output(const char* name, T*& place, size_t bytes) {
    add(name, place, 0, {{0, bytes}}, bytes, true);
  }

  void send();
  /// Waits for the kernel, brings back what it wrote and checks the rest.
  void fetch();

  static constexpr size_t guard_bytes = 256;

 private:
  /// Bytes of a block that are copied, and where they stand among all that is.
  struct Piece {
    ByteRange in_block;
    size_t at = 0;
  };
  struct Array {
    std::string name;
    std::byte* host = nullptr;
    std::vector<std::function<void(std::byte*)>> set_places;
    bool written = false;
    size_t bytes = 0;
    std::vector<ByteRange> ranges;  ///< of them, to be copied
    size_t first = 0;               ///< where the array begins in its block
    std::vector<Piece> pieces;
    std::vector<std::byte> sent;
    std::shared_ptr<std::byte> block;
  };

  /// The address lies `start` bytes above the lowest one of the array.
  template <class T>
  void add(const char* name, T*& place, size_t start, std::vector<ByteRange> ranges, size_t bytes, bool written) {
    if (place == nullptr || bytes == 0) return;
    auto* address = reinterpret_cast<std::byte*>(const_cast<std::remove_const_t<T>*>(place));
    array_at(name, address - start, std::move(ranges), bytes, written)
        .set_places.push_back([&place, start](std::byte* lowest) { place = reinterpret_cast<T*>(lowest + start); });
  }
  /// An array of its own, or an input that begins there.
  Array& array_at(const char* name, std::byte* host, std::vector<ByteRange> ranges, size_t bytes, bool written);
  static void lay_out(Array&);
  void send(Array&) const;
  void fetch(const Array&) const;

  const DeviceMemory& memory_;
  std::vector<Array> arrays_;
};

}  // namespace headscope::testing
