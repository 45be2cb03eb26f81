#pragma once

#include <functional>
#include <optional>

#include "core/arch/families/common.h"
#include "core/arch/families/rope_config.h"

/// Models of Llama's form: rope over whole heads, RMSNorm, a gated MLP, grouped KV heads, one tensor for each weight.
/// Most open models of today are of it; a family says where it differs.
namespace headscope {

/// What a config that leaves a key out means, by family.
struct LlamaDefaults {
  double norm_epsilon = 1e-6;
  std::optional<int64_t> head_dim = {};  ///< none: hidden_size / num_attention_heads
  bool tied_embeddings = false;
  ConfigKey activation_key = "hidden_act";
  Activation activation = Activation::silu;
  RopeSpelling rope = {};
};

/// What is outside the layers, rope left for the caller to read. Not validated yet. Notes as Family says.
Architecture read_llama_frame(const ConfigReader&, std::string_view family, const LlamaDefaults&,
                              std::vector<std::string>& notes);

/// The gated MLP of intermediate_size.
Mlp read_llama_mlp(const ConfigReader&, const LlamaDefaults&);

/// All layers alike, with what every family of this form spells alike. Not validated yet. Notes as Family says.
Architecture read_llama_form(const ConfigReader&, std::string_view family, const LlamaDefaults&,
                             std::vector<std::string>& notes);

/// sliding_window: `fallback` when the key is left out, 0 when it says null.
int64_t read_window(const ConfigReader&, int64_t fallback);

/// layer_types of transformers 5: one of its two types for each layer, or nothing.
std::vector<std::string> read_layer_types(const ConfigReader&, const Architecture&);

/// `window` tokens in the layers for which layer_types of transformers 5 says "sliding_attention", or without that key
/// in those for which `slides` holds. 0: none.
void set_windows(const ConfigReader&, int64_t window, const std::function<bool(int64_t layer)>& slides, Architecture&);

/// How the files of a family differ from Llama's.
struct LlamaFiles {
  bool norms_plus_one = false;  ///< as TensorWish::plus_one
  bool fused = false;           ///< one tensor for queries, keys and values, one for gate and up
};

/// The tensors that go with it, named as in Llama's files; norms by what the layers say of norm_before, norm_after and
/// qk_norm.
TensorSchema llama_form_schema(const Architecture&, const LlamaFiles& = {});

}  // namespace headscope
