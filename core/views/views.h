#pragma once

#include <span>
#include <string_view>

namespace headscope {

struct ViewInfo {
  std::string_view name;         ///< "atlas": its file, its state, `render --view`
  std::string_view title;        ///< of its tab
  std::string_view description;  ///< one line
  bool tab = true;               ///< one of the window's tabs; else it stands in a side panel
};

/// Every view: tabs in their order, then the others.
std::span<const ViewInfo> views();

}  // namespace headscope
