#pragma once

#include <string>

#include "app/cli/bench/bench.h"
#include "app/cli/bench/machine.h"
#include "core/io/json.h"

namespace headscope::cli::bench {

/// Everything that was found, as docs/formats.md has it.
Json report_json(const Bench&, const Machine&);
/// The same for people.
std::string report_text(const Bench&, const Machine&);

}  // namespace headscope::cli::bench
