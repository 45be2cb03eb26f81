#pragma once

#include <string_view>

#include "core/arch/architecture.h"

namespace headscope {

/// The names that files and JSON use: "keys_and_values", "values_only", "keys_only", "latent".
std::string_view stored_name(Stored);

/// "none", "learned", "rope", "alibi".
std::string_view position_name(PositionScheme);

/// How ALiBi's terms are computed: "bf16" (rounded as the model was trained with them) or "exact"; "" without ALiBi.
std::string_view alibi_name(const Position&);

}  // namespace headscope
