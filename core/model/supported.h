#pragma once

#include <string>
#include <vector>

#include "core/arch/architecture.h"

namespace headscope {

/// What the architecture asks for that the forward pass does not do yet, one phrase each ("a sliding-window cache"),
/// whatever the number of layers; empty when it can run.
std::vector<std::string> unsupported_features(const Architecture&);

/// Throws Error with that list.
void require_supported(const Architecture&, const std::string& model);

}  // namespace headscope
