#pragma once

#include <compare>
#include <cstdint>
#include <optional>

namespace headscope {

/// A query head of a model, from 0.
struct HeadId {
  int64_t layer = 0, head = 0;
  auto operator<=>(const HeadId&) const = default;
};

/// What the user has picked in one model slot. Zero-based indices; absent means nothing picked.
struct Selection {
  std::optional<int64_t> layer;
  std::optional<int64_t> head;   ///< query head
  std::optional<int64_t> query;  ///< token whose row is looked at
  std::optional<int64_t> key;    ///< token it looks at
};

}  // namespace headscope
