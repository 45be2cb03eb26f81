#pragma once

#include <string>
#include <vector>

#include "app/cli/kv_models.h"
#include "core/io/json.h"
#include "core/views/kv_compare.h"

namespace headscope::cli {

/// What `kv` prints: one object, or one row, for each row of kv_compare_rows. `sources` has a text for each subject.
Json kv_json(const KvCompareData&, const std::vector<std::string>& sources);
std::string kv_text(const KvCompareData&, const std::vector<std::string>& sources);

/// The published models with names, sources and sizes.
Json published_json();
std::string published_text();

}  // namespace headscope::cli
