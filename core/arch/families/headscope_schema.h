#pragma once

#include "core/arch/family.h"

namespace headscope {

/// The tensors of HeadScope's own files, named as Weight is: "token_embedding", "layers.3.query_bias",
/// "layers.3.experts.0.expert_up".
TensorSchema headscope_schema(const Architecture&);

}  // namespace headscope
