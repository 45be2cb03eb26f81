#include "core/base/crc32.h"

#include <array>
#include <cstring>

namespace headscope {
namespace {

constexpr size_t stride = 8;  // bytes taken in one step, each through its own table

/// tables[k][b]: what byte b adds to the CRC when k more bytes follow it within the step.
constexpr auto tables = [] {
  std::array<std::array<uint32_t, 256>, stride> all{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = value & 1 ? value >> 1 ^ 0xEDB88320u : value >> 1;
    all[0][byte] = value;
  }
  for (size_t k = 1; k < stride; ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = all[k - 1][byte];
      all[k][byte] = before >> 8 ^ all[0][before & 0xFF];
    }
  }
  return all;
}();

}  // namespace

uint32_t crc32(std::span<const std::byte> bytes, uint32_t crc) {
  crc = ~crc;
  for (; bytes.size() >= stride; bytes = bytes.subspan(stride)) {
    uint64_t word;
    std::memcpy(&word, bytes.data(), stride);
    word ^= crc;
    crc = 0;
    for (size_t k = 0; k < stride; ++k) crc ^= tables[stride - 1 - k][word >> 8 * k & 0xFF];
  }
  for (const std::byte byte : bytes) crc = crc >> 8 ^ tables[0][(crc ^ static_cast<uint32_t>(byte)) & 0xFF];
  return ~crc;
}

}  // namespace headscope
