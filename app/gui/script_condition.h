#pragma once

#include <string>
#include <string_view>

#include "app/gui/app/commands.h"
#include "core/io/json.h"

namespace headscope::gui {

/// What a script's lines `expect` and `until` ask for: "KEY OP VALUE". The value may hold spaces.
struct Condition {
  std::string key, op, value;
};

/// Throws Error when a part is missing.
Condition condition_of(const CommandCall&);

/// The value at "slots.A.kv.used_bytes"; throws Error naming the part that is not there.
const Json& value_at(const Json&, std::string_view key);

/// Whether `value` OP `wanted`; numbers compare as numbers, ~ looks for text. Throws Error when they cannot be
/// compared.
bool holds(const Json& value, std::string_view op, const std::string& wanted);

}  // namespace headscope::gui
