#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/arch/binding.h"
#include "core/arch/family.h"

namespace headscope::arch_test {

/// Configs as their files have them (keys that matter).
Json gpt2_config(int64_t width = 768, int64_t heads = 12, int64_t layers = 12);
Json llama_config();  ///< stories260K's: 5 layers, 8 query heads, 4 KV heads of 8, tied
Json llama_3_2_1b_config();
Json smollm2_135m_config();
Json tinyllama_1_1b_config();

/// A copy of `config` with some keys replaced.
Json with(Json config, const Json& changes);
Json without(Json config, std::initializer_list<const char*> keys);

/// recognise_family and its architecture, named "config.json" in messages.
Architecture load(const Json& config, std::vector<std::string>* notes = nullptr);

/// The message of the Error that `action` throws; a test failure and "" when it throws none.
std::string error_of(const std::function<void()>& action);

/// `layers` alike layers over rope, one owner for every layer, or the owners given.
Architecture uniform(int64_t layers, int64_t q_heads, int64_t kv_heads, int64_t head_dim,
                     const std::vector<int64_t>& owners = {});

/// Sets the window of the layers and of the stores of those that own one.
void set_window(Architecture&, int64_t window, const std::function<bool(int64_t)>& layers);

/// The tensors of a file that fits the schema, without optional ones.
std::vector<TensorInfo> file_for(const TensorSchema&, const std::string& prefix);
TensorInfo tensor(std::string name, std::vector<int64_t> shape, DType = DType::f32);
TensorInfo& named(std::vector<TensorInfo>&, const std::string& name);

}  // namespace headscope::arch_test
