#include "core/tokenizer/string_finder.h"

namespace headscope {

StringFinder::StringFinder() : nodes_(1) {}

StringFinder::StringFinder(const std::vector<std::string>& strings) : nodes_(1) {
  for (size_t i = 0; i < strings.size(); ++i) {
    lengths_.push_back(strings[i].size());
    if (!strings[i].empty()) insert(strings[i], static_cast<int32_t>(i));
  }
  link_fallbacks();
}

int32_t StringFinder::child(int32_t node, unsigned char byte) const {
  if (node == 0) return root_[byte];
  int32_t at = nodes_[static_cast<size_t>(node)].first_child;
  while (at != 0 && nodes_[static_cast<size_t>(at)].byte != byte) at = nodes_[static_cast<size_t>(at)].next_sibling;
  return at;
}

int32_t StringFinder::add_child(int32_t node, unsigned char byte) {
  const auto added = static_cast<int32_t>(nodes_.size());
  Node& parent = nodes_[static_cast<size_t>(node)];
  Node fresh;
  fresh.byte = byte;
  fresh.next_sibling = parent.first_child;
  parent.first_child = added;
  if (node == 0) root_[byte] = added;
  nodes_.push_back(fresh);
  return added;
}

void StringFinder::insert(const std::string& string, int32_t which) {
  int32_t node = 0;
  for (auto byte = string.rbegin(); byte != string.rend(); ++byte) {
    const int32_t next = child(node, static_cast<unsigned char>(*byte));
    node = next != 0 ? next : add_child(node, static_cast<unsigned char>(*byte));
  }
  int32_t& longest = nodes_[static_cast<size_t>(node)].longest;
  if (longest < 0) longest = which;
}

/// Breadth first, so that a node's fallback, which is nearer to the root, is finished before the node.
void StringFinder::link_fallbacks() {
  std::vector<int32_t> queue{0};
  for (size_t i = 0; i < queue.size(); ++i) {
    const int32_t node = queue[i];
    for (int32_t at = nodes_[static_cast<size_t>(node)].first_child; at != 0;
         at = nodes_[static_cast<size_t>(at)].next_sibling) {
      Node& below = nodes_[static_cast<size_t>(at)];
      if (node != 0) {
        int32_t fallback = nodes_[static_cast<size_t>(node)].fallback;
        while (fallback != 0 && child(fallback, below.byte) == 0) {
          fallback = nodes_[static_cast<size_t>(fallback)].fallback;
        }
        below.fallback = child(fallback, below.byte);
      }
      if (below.longest < 0) below.longest = nodes_[static_cast<size_t>(below.fallback)].longest;
      queue.push_back(at);
    }
  }
}

std::vector<StringFinder::Found> StringFinder::find_all(std::string_view text) const {
  if (nodes_.size() == 1) return {};
  std::vector<Found> backwards;  // for each position where some string begins, the longest
  int32_t node = 0;
  for (size_t i = text.size(); i-- > 0;) {
    const auto byte = static_cast<unsigned char>(text[i]);
    int32_t next = child(node, byte);
    while (next == 0 && node != 0) {
      node = nodes_[static_cast<size_t>(node)].fallback;
      next = child(node, byte);
    }
    node = next;
    const int32_t longest = nodes_[static_cast<size_t>(node)].longest;
    if (longest >= 0) {
      const auto which = static_cast<size_t>(longest);
      backwards.push_back({i, i + lengths_[which], which});
    }
  }
  std::vector<Found> result;
  size_t free_from = 0;
  for (auto found = backwards.rbegin(); found != backwards.rend(); ++found) {
    if (found->begin < free_from) continue;
    result.push_back(*found);
    free_from = found->end;
  }
  return result;
}

}  // namespace headscope
