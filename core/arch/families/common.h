#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "core/arch/config_reader.h"
#include "core/arch/family.h"

namespace headscope {

/// The config's model_type is `model_type`, or it has none and `architectures` lists one of `classes`.
bool config_names(const Json& config, std::string_view model_type, std::initializer_list<std::string_view> classes);

/// Reads the activation of an MLP under `key` as transformers names it.
Activation read_activation(const ConfigReader&, const ConfigKey& key, Activation fallback);

/// Reads bos_token_id and eos_token_id. Ids outside the vocabulary are left out with a note: they can neither be
/// fed nor come out, and real configs hold some ("none" written as -1, ids of removed tokens).
void read_special_ids(const ConfigReader&, Architecture&, std::vector<std::string>& notes);

/// width / heads, where heads divide the width; `width_name` says in the message what that is.
int64_t even_head_dim(const ConfigReader&, const ConfigKey& heads_key, int64_t heads, int64_t width,
                      std::string_view width_name);

/// Adds `count` layers like `layer`, each with a cache of its own like `store`.
void add_equal_layers(Architecture&, Layer layer, KvStore store, int64_t count);

/// validate(), with the file's name before the message: what the checks of single keys let through.
void validate_config(const Architecture&, std::string_view source);

/// A tensor that is one weight as a whole: [out, in] or a vector.
TensorWish whole(std::string name, std::vector<int64_t> shape, Weight weight, int64_t layer = -1);

/// Adds `name`.weight of `shape`, and `name`.bias of shape[0] when `bias`.
void add_linear(std::vector<TensorWish>&, const std::string& name, std::vector<int64_t> shape, Weight weight,
                Weight bias_weight, bool bias, int64_t layer);

/// Adds a Linear whose rows are one block for each KV head: its query heads, then the key head, then the value head
/// (kv-variants.md 3.0). One KV head for each query head is GPT-NeoX's order; one for all is [Q | k | v].
void add_grouped_qkv(std::vector<TensorWish>&, const std::string& name, const Architecture&, int64_t layer);

/// The token embedding and the output head, with padding rows allowed. The head is optional when tied.
TensorWish token_embedding(std::string name, const Architecture&);
TensorWish lm_head(std::string name, const Architecture&);

}  // namespace headscope
