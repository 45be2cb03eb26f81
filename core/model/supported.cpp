#include "core/model/supported.h"

#include <algorithm>

#include "core/base/error.h"

namespace headscope {
namespace {

/// Collects each phrase once.
class Findings {
 public:
  void add(bool found, std::string phrase) {
    if (found && std::find(phrases.begin(), phrases.end(), phrase) == phrases.end()) {
      phrases.push_back(std::move(phrase));
    }
  }
  std::vector<std::string> phrases;
};

void check_layer(const Architecture& a, int64_t index, Findings& findings) {
  const Layer& layer = a.layers[static_cast<size_t>(index)];
  if (a.position.scheme == PositionScheme::rope) {
    const auto kind = a.rope_of(index).scaling.kind;
    findings.add(kind == RopeScaling::Kind::dynamic && layer.rotate_on_read,
                 "dynamic rope scaling of keys that are rotated when they are read");
  }
}

void check_store(const KvStore& store, Findings& findings) {
  findings.add(store.stored == Stored::values_only, "SharedKV (keys made from stored values)");
  findings.add(store.stored == Stored::keys_only, "slim attention (values made from stored keys)");
}

}  // namespace

std::vector<std::string> unsupported_features(const Architecture& architecture) {
  Findings findings;
  for (int64_t layer = 0; layer < architecture.layer_count(); ++layer) check_layer(architecture, layer, findings);
  for (const KvStore& store : architecture.kv_stores) check_store(store, findings);
  return findings.phrases;
}

void require_supported(const Architecture& architecture, const std::string& model) {
  const auto missing = unsupported_features(architecture);
  if (missing.empty()) return;
  fail("{} cannot be run: it needs {}, which the forward pass does not do yet; `headscope info` still describes it",
       quoted(model), listed(missing));
}

}  // namespace headscope
