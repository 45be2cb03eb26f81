#include "app/gui/script_condition.h"

#include "app/gui/app/number_in.h"
#include "core/base/error.h"

namespace headscope::gui {

Condition condition_of(const CommandCall& call) {
  const size_t first = call.rest.find(' '), second = call.rest.find(' ', first + 1);
  if (first == std::string::npos || second == std::string::npos) {
    fail("{} needs KEY OP VALUE, as in: {} slots.A.tokens == 60", call.id, call.id);
  }
  std::string value = call.rest.substr(second + 1);
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
  return {call.rest.substr(0, first), call.rest.substr(first + 1, second - first - 1), value};
}

const Json& value_at(const Json& json, std::string_view key) {
  const Json* here = &json;
  while (!key.empty()) {
    const size_t dot = key.find('.');
    const std::string part(key.substr(0, dot));
    if (!here->is_object() || !here->contains(part)) fail("The state has no key {}.", quoted(part));
    here = &(*here)[part];
    key = dot == std::string_view::npos ? std::string_view() : key.substr(dot + 1);
  }
  return *here;
}

bool holds(const Json& value, std::string_view op, const std::string& wanted) {
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (op == "~") return text.find(wanted) != std::string::npos;
  const auto number = number_in<double>(wanted);
  if (value.is_number() && number) {
    const auto here = value.get<double>();
    if (op == "==") return here == *number;
    if (op == "!=") return here != *number;
    if (op == "<") return here < *number;
    if (op == "<=") return here <= *number;
    if (op == ">") return here > *number;
    if (op == ">=") return here >= *number;
  }
  if (op == "==") return text == wanted;
  if (op == "!=") return text != wanted;
  fail("{} cannot compare {} with {}.", quoted(op), quoted(text), quoted(wanted));
}

}  // namespace headscope::gui
