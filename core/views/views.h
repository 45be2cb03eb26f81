#pragma once

#include <span>
#include <string_view>

namespace headscope {

struct ViewInfo {
  std::string_view name;         ///< "atlas": its file, its state, `render --view`
  std::string_view title;        ///< of its tab
  std::string_view description;  ///< one line
};

/// Every view, in the order of the tabs.
std::span<const ViewInfo> views();

}  // namespace headscope
