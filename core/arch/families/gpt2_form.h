#pragma once

#include <functional>

#include "core/arch/families/common.h"

/// Models of GPT-2's form: learned positions, LayerNorm, biases everywhere, an output head tied to the embedding.
namespace headscope {

/// All layers alike, each with keys and values for `kv_heads` of its heads; 0: for all. `positions` is the key of the
/// context. Not validated yet.
Architecture read_gpt2_form(const ConfigReader&, std::string_view family, const ConfigKey& positions, int64_t kv_heads,
                            std::vector<std::string>& notes);

/// The keys under which it is read, beside that of the context.
void require_gpt2_keys(const ConfigReader&, const ConfigKey& positions);

/// The tensors that go with it; `add_layer` adds those of one layer, named from "h.0." on.
TensorSchema gpt2_form_schema(const Architecture&,
                              const std::function<void(std::vector<TensorWish>&, int64_t layer)>& add_layer);

inline constexpr ConfigKey gpt2_positions{"n_positions", "max_position_embeddings"};

}  // namespace headscope
