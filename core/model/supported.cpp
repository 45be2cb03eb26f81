#include "core/model/supported.h"

#include "core/base/error.h"

namespace headscope {
namespace {

bool turns_what_grows(const Architecture& a, int64_t layer) {
  return a.position.scheme == PositionScheme::rope && a.layers[static_cast<size_t>(layer)].rotate_on_read &&
         a.rope_of(layer).scaling.kind == RopeScaling::Kind::dynamic;
}

}  // namespace

std::vector<std::string> unsupported_features(const Architecture& architecture) {
  for (int64_t layer = 0; layer < architecture.layer_count(); ++layer) {
    if (turns_what_grows(architecture, layer)) {
      return {"dynamic rope scaling of keys that are rotated when they are read"};
    }
  }
  return {};
}

void require_supported(const Architecture& architecture, const std::string& model) {
  const auto missing = unsupported_features(architecture);
  if (missing.empty()) return;
  fail("{} cannot be run: it needs {}, which the forward pass does not do yet; `headscope info` still describes it",
       quoted(model), listed(missing));
}

}  // namespace headscope
