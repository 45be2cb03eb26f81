#pragma once

#include <cstdint>
#include <string>

#include "core/arch/architecture.h"

namespace headscope {

/// Parameters of the model, tied weights once: those that its family wants of a file. Throws Error when there is no
/// such family.
int64_t parameters_of(const Architecture&);

/// Numbers that a decode step holds for one sequence beside weights and cache, at the place where they are most: the
/// residual and its norm, and the widest of
///   attention: q_heads x (key_dim + value_dim), queries as they score and what the heads give (of latents 576 and
///   512); MLP: the inner widths of the experts a token takes, twice when gated; logits: vocab.
/// No scores: attention that is computed in one pass stores none. This counts buffers, no allocator's rounding.
struct Scratch {
  int64_t elements = 0;
  std::string equation;  ///< "2 x 768 residual and norm + 50,257 logits"
};
Scratch decode_scratch(const Architecture&);

/// The product of sizes and counts, none negative; throws Error, naming `what`, when it is 2^63 or more.
int64_t checked_bytes(int64_t count, int64_t size, std::string_view what);

}  // namespace headscope
