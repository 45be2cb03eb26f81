#pragma once

#include <cstdint>
#include <optional>

namespace headscope {

/// What the user has picked in one model slot. Zero-based indices; absent means nothing picked.
struct Selection {
  std::optional<int64_t> layer;
  std::optional<int64_t> head;   ///< query head
  std::optional<int64_t> query;  ///< token whose row is looked at
  std::optional<int64_t> key;    ///< token it looks at
};

}  // namespace headscope
