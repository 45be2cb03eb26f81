#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace headscope {

/// CRC-32 as in zlib, PNG and Python's zlib.crc32 (reflected polynomial 0xEDB88320). Give the result of one piece
/// as `crc` of the next.
uint32_t crc32(std::span<const std::byte> bytes, uint32_t crc = 0);

}  // namespace headscope
