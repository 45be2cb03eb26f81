#pragma once

#include <functional>

#include "core/arch/families/common.h"

/// Models of GPT-NeoX's form: rope on a part of each head, LayerNorm, biases, parallel or sequential residual.
namespace headscope {

/// Whether the config is of a model that shares keys and values between layers (MLKV).
bool shares_layers(const Json& config);

/// All layers alike, each with keys and values for all its heads. Not validated yet.
Architecture read_neox_form(const ConfigReader&, std::string_view family, std::vector<std::string>& notes);

/// The tensors that go with it; `add_qkv` adds those of one layer's queries, keys and values.
TensorSchema neox_form_schema(const Architecture&,
                              const std::function<void(std::vector<TensorWish>&, int64_t layer)>& add_qkv);

}  // namespace headscope
