#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/arch/architecture.h"
#include "core/io/json.h"

namespace headscope {

/// The weights a model is made of. Linear weights are [out, in].
enum class Weight {
  token_embedding,     ///< [vocab, d_model]
  position_embedding,  ///< [context (+ offset), d_model]
  final_norm,
  final_norm_bias,
  lm_head,  ///< [vocab, d_model]; when no tensor is bound to it, the token embedding (tied)
  lm_head_bias,
  attention_norm,  ///< before attention
  attention_norm_bias,
  attention_post_norm,  ///< after attention
  query_norm,           ///< [key_dim], or [q_heads * key_dim] of all heads together
  key_norm,             ///< [key_dim], or [kv_heads * key_dim]; owning layers only
  query,  ///< [q_heads * key_dim, d_model]; MLA: [q_heads * (content_dim + rope dims), d_model or query_rank]
  query_bias,
  key,  ///< [kv_heads * key_dim, d_model], owning layers only
  key_bias,
  value,  ///< [kv_heads * value_dim, d_model], owning layers only; slim attention: of stored keys, in place of x
  value_bias,
  query_latent,  ///< MLA: [query_rank, d_model]
  query_latent_bias,
  query_latent_norm,  ///< [query_rank]
  latent,             ///< MLA, owning layers only: [key_dim, d_model], the latent and the rope key
  latent_bias,
  latent_norm,       ///< [value_dim], the latent alone
  latent_key,        ///< MLA: [q_heads * content_dim, latent]
  latent_value,      ///< MLA: [q_heads * value_dim of a head, latent]
  attention_output,  ///< [d_model, q_heads * value_dim]
  attention_output_bias,
  mlp_norm,  ///< before the MLP
  mlp_norm_bias,
  mlp_post_norm,  ///< after the MLP
  mlp_gate,
  mlp_gate_bias,
  mlp_up,  ///< [width, d_model]
  mlp_up_bias,
  mlp_down,  ///< [d_model, width]
  mlp_down_bias,
  router,       ///< [experts, d_model]
  router_bias,  ///< [experts], for the choice alone
  expert_gate,  ///< of one expert, as mlp_gate, mlp_up, mlp_down; without biases
  expert_up,
  expert_down,
  shared_gate,  ///< of what every token passes beside its experts
  shared_up,
  shared_down,
};

std::string_view weight_name(Weight);

/// Rows [begin, begin + count) of a tensor once it stands as [out, in].
struct RowRange {
  int64_t begin = 0;
  int64_t count = 0;
};

/// A part of a tensor that becomes one weight: its row ranges, one after the other.
struct WeightPart {
  Weight weight;
  int64_t layer = -1;  ///< -1 for weights outside the layers
  std::vector<RowRange> rows;
  int64_t expert = 0;
};

/// One tensor that a family wants from the file, and where its rows go.
struct TensorWish {
  std::string name;                           ///< without the prefix that some files carry
  std::vector<std::string> other_names = {};  ///< tried after it, in this order
  /// Another tensor that may hold the same weights: in a file that has it, this one must be absent.
  std::string held_by = {};
  std::vector<int64_t> shape;      ///< as it must be in the file
  bool transposed = false;         ///< the file stores [in, out] (GPT-2's Conv1D)
  bool outside_prefix = false;     ///< the name never carries the prefix (lm_head)
  bool more_rows_allowed = false;  ///< padded embeddings: the first shape[0] rows are used
  bool optional = false;           ///< may be absent; used when present
  bool plus_one = false;           ///< the file stores the weight minus 1 (Gemma's norms)
  std::vector<WeightPart> parts;
};

struct TensorSchema {
  std::string family;  ///< for messages
  /// Prefixes tried on every name, the first under which a required tensor exists is used: {"transformer.", ""}.
  std::vector<std::string> prefixes;
  std::vector<TensorWish> wishes;
  /// Name endings of buffers that files may carry and nobody needs (".attn.bias").
  std::vector<std::string> ignored_suffixes;
};

/// One model family. Adding one is one file in families/ and one line in families/list.inc.
struct Family {
  std::string_view name;
  std::string_view description;  ///< one line for `info --families`
  std::string_view variants;     ///< how its models share keys and values
  std::string_view positions;    ///< how tokens know their places
  std::string_view tokenizer;    ///< the usual one of its checkpoints
  std::string_view refused;      ///< forms of it that are refused by name, or empty
  bool (*recognises)(const Json& config);
  /// Reads a config; `notes` takes sentences the user should see. Throws Error naming `source`, key and value.
  /// What it returns has passed validate().
  Architecture (*architecture)(const Json& config, std::string_view source, std::vector<std::string>& notes);
  TensorSchema (*schema)(const Architecture&);
};

std::span<const Family> families();

/// The family that recognises the config, or an Error that names model_type and what is supported
/// (quantised models are refused here too).
const Family& recognise_family(const Json& config, std::string_view source);

/// Number of parameters in the schema's required tensors: tied weights count once, padding rows do not count.
int64_t parameter_count(const TensorSchema&);

}  // namespace headscope
