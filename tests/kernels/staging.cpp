#include "tests/kernels/staging.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace headscope::testing {
namespace {

constexpr std::byte guard{0xFF};
constexpr size_t kept_alignment = 64;

}  // namespace

Staging::Array& Staging::array_at(const char* name, std::byte* host, std::vector<ByteRange> ranges, size_t bytes,
                                  bool written) {
  for (Array& there : arrays_) {
    if (there.host != host || there.written || written) continue;
    if (bytes > there.bytes) {
      there.bytes = bytes;
      there.ranges = std::move(ranges);
    }
    return there;
  }
  Array array;
  array.name = name;
  array.host = host;
  array.written = written;
  array.bytes = bytes;
  array.ranges = std::move(ranges);
  arrays_.push_back(std::move(array));
  return arrays_.back();
}

/// The front band, the ranges and the back band as pieces; those that touch are copied at once.
void Staging::lay_out(Array& array) {
  array.first = guard_bytes + reinterpret_cast<uintptr_t>(array.host) % kept_alignment;
  std::vector<ByteRange> parts{{0, array.first}};
  for (const ByteRange& range : array.ranges) parts.push_back({array.first + range.begin, array.first + range.end});
  parts.push_back({array.first + array.bytes, array.first + array.bytes + guard_bytes});
  for (const ByteRange& part : parts) {
    const bool touches = !array.pieces.empty() && array.pieces.back().in_block.end == part.begin;
    if (!touches) array.pieces.push_back({{part.begin, part.begin}, array.sent.size()});
    array.pieces.back().in_block.end = part.end;
    array.sent.resize(array.sent.size() + part.size(), guard);
  }
}

void Staging::send() {
  for (Array& array : arrays_) send(array);
}

void Staging::send(Array& array) const {
  lay_out(array);
  const size_t end = array.first + array.bytes;
  std::vector<ByteRange> used;
  for (const Piece& piece : array.pieces) {
    used.push_back(piece.in_block);
    const size_t from = std::max(piece.in_block.begin, array.first), to = std::min(piece.in_block.end, end);
    if (from < to) {
      std::memcpy(array.sent.data() + piece.at + (from - piece.in_block.begin), array.host + (from - array.first),
                  to - from);
    }
  }
  array.block = memory_.allocate(end + guard_bytes, used);
  for (const Piece& piece : array.pieces) {
    memory_.to_device(array.block.get() + piece.in_block.begin, array.sent.data() + piece.at, piece.in_block.size());
  }
  for (const auto& set_place : array.set_places) set_place(array.block.get() + array.first);
}

void Staging::fetch() {
  memory_.finish();
  for (const Array& array : arrays_) fetch(array);
}

void Staging::fetch(const Array& array) const {
  for (const Piece& piece : array.pieces) {
    std::vector<std::byte> now(piece.in_block.size());
    memory_.from_device(now.data(), array.block.get() + piece.in_block.begin, now.size());
    const std::byte* const before = array.sent.data() + piece.at;
    if (std::memcmp(now.data(), before, now.size()) == 0) continue;
    for (size_t i = 0; i < now.size(); ++i) {
      if (now[i] == before[i]) continue;
      const size_t at = piece.in_block.begin + i;
      const bool inside = at >= array.first && at < array.first + array.bytes;
      if (!inside || !array.written) {
        ADD_FAILURE() << "wrote " << (inside ? "into the input " : "beside ") << array.name << ", byte "
                      << static_cast<int64_t>(at - array.first) << " of " << array.bytes;
        return;
      }
      array.host[at - array.first] = now[i];
    }
  }
}

}  // namespace headscope::testing
