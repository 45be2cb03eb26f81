#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "core/arch/architecture.h"

namespace headscope {

/// One way of sharing keys and values, of the kinds in SCHEMES of tests/support/sharing_models.py, which are compared
/// with plain formulas. Windows, which that list has in some of its entries, go with every one here.
struct SharingScheme {
  std::string name;  ///< letters and digits, as names of tests are
  int64_t kv_heads = 4;
  std::vector<int64_t> owners = {0, 1, 2, 3};  ///< of each layer's cache
  Stored stored = Stored::keys_and_values;
  PositionScheme position = PositionScheme::rope;
  double soft_cap = 0;
  int64_t rope_dims = 6;  ///< of each head's 6
  RotationStyle rope_style = RotationStyle::rotate_half;
  bool rotated = true;          ///< false: rope turns nothing
  bool readers_rotated = true;  ///< false: readers of another layer's cache see its keys before rope

  bool rope() const { return position == PositionScheme::rope && rotated; }
};

enum class Windows {
  none,
  sliding,      ///< in all layers, narrower in every second one
  alternating,  ///< in every second layer, the first among them
  wide          ///< as sliding, but so wide that a cache grows several times before it slides
};

inline constexpr int64_t narrow_window = 11, wide_window = 40;

std::vector<SharingScheme> sharing_schemes();

/// How names of parameterised tests show it, instead of its bytes.
void PrintTo(const SharingScheme&, std::ostream*);

/// A store ends at the widest window of its readers, where all of them have one.
Architecture architecture_of(const SharingScheme&, Windows);

}  // namespace headscope
