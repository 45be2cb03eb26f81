#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace headscope {

/// Looks for many strings at once: leftmost first, of those the longest, without overlaps. Linear time in the text,
/// whatever the strings are: an Aho-Corasick automaton (Aho and Corasick 1975) of the reversed strings, run from the
/// end of the text to its beginning, tells for each position the longest string that begins there.
class StringFinder {
 public:
  StringFinder();
  /// Empty strings are never found; of equal ones the first is.
  explicit StringFinder(const std::vector<std::string>& strings);

  struct Found {
    size_t begin, end;
    size_t which;  ///< index of the string
  };
  std::vector<Found> find_all(std::string_view text) const;

 private:
  /// Children are a list of siblings: most nodes have one. The root's are in root_.
  struct Node {
    int32_t first_child = 0, next_sibling = 0, fallback = 0;
    int32_t longest = -1;  ///< the longest string that ends (reversed: begins) here
    unsigned char byte = 0;
  };
  int32_t child(int32_t node, unsigned char byte) const;
  int32_t add_child(int32_t node, unsigned char byte);
  void insert(const std::string& string, int32_t which);
  void link_fallbacks();

  std::vector<Node> nodes_;  ///< node 0 is the root, and 0 also stands for "none"
  std::array<int32_t, 256> root_{};
  std::vector<size_t> lengths_;
};

}  // namespace headscope
