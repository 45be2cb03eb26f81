#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "core/arch/architecture.h"

namespace headscope {

/// One way of sharing keys and values; the same list as SCHEMES of tests/support/sharing_models.py, which compares
/// them with plain formulas.
struct SharingScheme {
  std::string name;  ///< letters and digits, as names of tests are
  int64_t kv_heads = 4;
  std::vector<int64_t> owners = {0, 1, 2, 3};  ///< of each layer's cache
  Stored stored = Stored::keys_and_values;
  PositionScheme position = PositionScheme::rope;
  double soft_cap = 0;
};

enum class Windows {
  none,
  sliding,     ///< in all layers, narrower in every second one
  alternating  ///< in every second layer, the first among them
};

inline constexpr int64_t widest_window = 11;

std::vector<SharingScheme> sharing_schemes();

/// How names of parameterised tests show it, instead of its bytes.
void PrintTo(const SharingScheme&, std::ostream*);

/// A store ends at the widest window of its readers, where all of them have one.
Architecture architecture_of(const SharingScheme&, Windows);

}  // namespace headscope
