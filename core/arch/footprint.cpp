#include "core/arch/footprint.h"

#include <algorithm>

#include "core/arch/family.h"
#include "core/base/error.h"
#include "core/base/text.h"

namespace headscope {
namespace {

std::string count(int64_t value) { return format_count(static_cast<uint64_t>(value)); }

int64_t attention_width(const Architecture& a, int64_t layer) {
  const KvStore& store = a.store_of(layer);
  return a.layers[static_cast<size_t>(layer)].q_heads * (store.key_dim + store.value_dim);
}

int64_t mlp_width(const Mlp& mlp) { return (mlp.gated ? 2 : 1) * (mlp.width * mlp.experts_active + mlp.shared_width); }

}  // namespace

int64_t parameters_of(const Architecture& a) {
  const auto all = families();
  const auto family = std::find_if(all.begin(), all.end(), [&](const Family& one) { return one.name == a.family; });
  if (family == all.end()) fail("there is no family {}", quoted(a.family));
  return parameter_count(family->schema(a));
}

Scratch decode_scratch(const Architecture& a) {
  int64_t attention = 0, mlp = 0;
  for (int64_t i = 0; i < a.layer_count(); ++i) {
    attention = std::max(attention, attention_width(a, i));
    mlp = std::max(mlp, mlp_width(a.layers[static_cast<size_t>(i)].mlp));
  }
  const int64_t most = std::max({attention, mlp, a.vocab_size});
  const std::string_view which = most == a.vocab_size ? "logits" : most == mlp ? "in the MLP" : "in attention";
  return {2 * a.d_model + most, fmt::format("2 x {} residual and norm + {} {}", count(a.d_model), count(most), which)};
}

int64_t checked_bytes(int64_t count, int64_t size, std::string_view what) {
  int64_t out = 0;
  if (__builtin_mul_overflow(count, size, &out)) fail("{} would be larger than 2^63 bytes", what);
  return out;
}

}  // namespace headscope
