#include "core/data/run_snapshot.h"

#include <algorithm>

namespace headscope {

const KvRows& RunSnapshot::store_of(int64_t layer) const {
  const int64_t owner = architecture->layers.at(static_cast<size_t>(layer)).kv_owner;
  const auto found = std::find_if(stores.begin(), stores.end(), [&](const KvRows& s) { return s.layer == owner; });
  if (found == stores.end()) throw std::logic_error("RunSnapshot: no cache for the owning layer");
  return *found;
}

int64_t RunSnapshot::kv_used_bytes() const {
  int64_t bytes = 0;
  for (const KvRows& store : stores) bytes += store.used_bytes;
  return bytes;
}

int64_t RunSnapshot::kv_allocated_bytes() const {
  int64_t bytes = 0;
  for (const KvRows& store : stores) bytes += store.allocated_bytes;
  return bytes;
}

}  // namespace headscope
