#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "app/cli/command.h"
#include "core/io/json.h"

namespace headscope::cli {

/// Lines "label   value", values aligned.
std::string facts_table(const std::vector<std::pair<std::string, std::string>>& facts);

/// Columns padded to their widest cell; the first row is the heading. Columns other than the first align right.
std::string text_table(const std::vector<std::vector<std::string>>& rows);

/// Text of a model for people: control characters but tab and newline, which could change a terminal, as "\x1b".
std::string printable(std::string_view text);

/// Prints notes to standard error unless --quiet.
void print_notes(const Context&, std::span<const std::string> notes);

/// The JSON with a newline, as commands print it.
std::string json_text(const Json&);

}  // namespace headscope::cli
