#include <algorithm>
#include <numeric>

#include "core/arch/published.h"

namespace headscope {
namespace {

std::string lowered(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

/// Letters to insert, remove or replace to make `a` of `b` (Levenshtein).
size_t edits(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t k = 0; k < b.size(); ++k) {
      const size_t replaced = diagonal + (a[i] == b[k] ? 0 : 1);
      diagonal = row[k + 1];
      row[k + 1] = std::min({row[k] + 1, row[k + 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

}  // namespace

std::vector<std::string_view> published_names_like(std::string_view name, size_t most) {
  constexpr size_t longest = 64;  // of any name that could be meant
  const std::string wanted = lowered(name.substr(name.rfind('/') + 1));
  std::vector<std::pair<size_t, std::string_view>> found;
  if (wanted.size() < 2 || wanted.size() > longest) return {};
  for (const PublishedModel& model : published_models()) {
    for (std::string_view rest = model.names; !rest.empty();) {
      const size_t space = std::min(rest.find(' '), rest.size());
      const std::string_view one = rest.substr(0, space);
      const std::string other = lowered(one);
      const size_t away = edits(wanted, other);
      const bool within = wanted.size() >= 3 && other.find(wanted) != std::string::npos;
      if (within || away <= std::max<size_t>(2, wanted.size() / 4)) found.emplace_back(away, one);
      rest.remove_prefix(std::min(space + 1, rest.size()));
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string_view> out;
  for (const auto& [away, one] : found) {
    if (out.size() < most) out.push_back(one);
  }
  return out;
}

}  // namespace headscope
