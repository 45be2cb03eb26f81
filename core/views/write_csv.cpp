#include <cmath>

#include "core/base/text.h"
#include "core/views/utf8.h"
#include "core/views/write.h"

#include <fmt/format.h>

namespace headscope {
namespace {

void append_text(std::string& out, std::string_view text) {
  std::string safe;
  if (!text.empty() && std::string_view("=+-@\t\r").find(text.front()) != std::string_view::npos) safe = "'";
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_code_point(text, i);
    append_utf8(safe, c == 0 ? replacement_character : c);
  }
  if (safe.find_first_of(",\"\r\n") == std::string::npos) {
    out += safe;
    return;
  }
  out += '"';
  for (const char c : safe) {
    if (c == '"') out += '"';
    out += c;
  }
  out += '"';
}

struct AppendValue {
  std::string& out;

  void operator()(double value) const { out += std::isnan(value) ? "NaN" : fmt::format("{}", value); }
  void operator()(int64_t value) const { out += fmt::format("{}", value); }
  void operator()(const std::string& value) const { append_text(out, value); }
};

}  // namespace

std::string csv_text(const Table& table) {
  std::string out;
  for (size_t c = 0; c < table.columns.size(); ++c) {
    const Table::Column& column = table.columns[c];
    if (c > 0) out += ',';
    append_text(out, column.unit.empty() ? column.name : fmt::format("{} ({})", column.name, column.unit));
  }
  out += '\n';
  for (size_t row = 0; row < table.rows; ++row) {
    for (size_t c = 0; c < table.columns.size(); ++c) {
      if (c > 0) out += ',';
      std::visit(AppendValue{out}, table.columns[c].value(row));
    }
    out += '\n';
  }
  return out;
}

}  // namespace headscope
