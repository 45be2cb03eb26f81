#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace headscope {

/// What is wrong with `text` as an XML document; empty when it is well-formed. Knows what our SVG uses: the
/// declaration, elements, attributes in double quotes, text, and the five named entities.
inline std::string xml_fault(std::string_view text) {
  std::vector<std::string> open;
  const auto legal = [](std::string_view part) {
    for (size_t i = 0; i < part.size(); ++i) {
      const auto c = static_cast<unsigned char>(part[i]);
      if (c < 0x20 && c != '\n' && c != '\t') return false;
      if (c != '&') continue;
      bool entity = false;
      for (const std::string_view name : {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"})
        entity |= part.substr(i).starts_with(name);
      if (!entity) return false;
    }
    return true;
  };
  const size_t declaration = text.find("?>");
  if (!text.starts_with("<?xml ") || declaration == text.npos) return "no declaration";
  bool had_root = false;
  for (size_t i = declaration + 2; i < text.size();) {
    const size_t start = text.find('<', i);
    const std::string_view between = text.substr(i, start == text.npos ? text.npos : start - i);
    if (!legal(between)) return "bad character or entity in text";
    if (open.empty() && between.find_first_not_of(" \n") != between.npos) return "text outside the root";
    if (start == text.npos) break;
    // A '>' inside an attribute does not end the tag.
    size_t end = start + 1;
    for (bool quoted = false; end < text.size() && (quoted || text[end] != '>'); ++end) {
      if (text[end] == '"') quoted = !quoted;
      if (text[end] == '<') return "'<' inside a tag";
    }
    if (end == text.size()) return "tag without end";
    std::string_view tag = text.substr(start + 1, end - start - 1);
    i = end + 1;
    if (tag.starts_with('/')) {
      if (open.empty() || open.back() != tag.substr(1)) return "wrong end tag " + std::string(tag);
      open.pop_back();
      continue;
    }
    const bool alone = tag.ends_with('/');
    if (alone) tag.remove_suffix(1);
    const size_t name_end = tag.find_first_of(" \n");
    const std::string name(tag.substr(0, name_end));
    if (name.empty()) return "tag without name";
    if (open.empty() && had_root) return "two roots";
    had_root = true;
    std::string_view rest = name_end == tag.npos ? std::string_view() : tag.substr(name_end);
    std::vector<std::string> seen;
    while (rest.find_first_not_of(" \n") != rest.npos) {
      rest.remove_prefix(rest.find_first_not_of(" \n"));
      const size_t equals = rest.find("=\"");
      if (equals == rest.npos) return "attribute without value in " + name;
      const std::string attribute(rest.substr(0, equals));
      const size_t close = rest.find('"', equals + 2);
      if (close == rest.npos) return "attribute without end in " + name;
      if (attribute.find_first_of(" <&") != attribute.npos) return "bad attribute " + attribute;
      for (const std::string& other : seen) {
        if (other == attribute) return "attribute twice: " + attribute;
      }
      seen.push_back(attribute);
      if (!legal(rest.substr(equals + 2, close - equals - 2))) return "bad value of " + attribute;
      rest.remove_prefix(close + 1);
    }
    if (!alone) open.push_back(name);
  }
  if (!open.empty()) return "not closed: " + open.back();
  return had_root ? "" : "no root";
}

}  // namespace headscope
