#include <cmath>

#include "core/arch/families/gemma_form.h"
#include "core/arch/families/list.h"

namespace headscope {
namespace {

bool recognises(const Json& config) {
  return config_names(config, "gemma3_text", {"Gemma3ForCausalLM", "Gemma3TextModel"});
}

constexpr RopeSpelling far_rope{.base = 1e6, .part = "full_attention"};
constexpr RopeSpelling near_rope{
    .base_key = "rope_local_base_freq", .base = 10000, .part = "sliding_attention", .old_scaling = false};

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  Architecture a = read_gemma_form(reader, "gemma3_text", "hidden_activation", far_rope, notes);
  set_gemma_scores(reader, 0, 0, a);
  const int64_t pattern = reader.integer_or("sliding_window_pattern", 6, 1, limits::layers);
  set_windows(
      reader, read_window(reader, 4096), [pattern](int64_t layer) { return (layer + 1) % pattern != 0; }, a);
  const int64_t positions = reader.integer("max_position_embeddings", 1, limits::context);
  const Rope near = read_rope(reader, near_rope, a.store_of(0).key_dim, positions);
  for (Layer& layer : a.layers) {
    layer.qk_norm = QkNorm::per_head;
    if (layer.window > 0) layer.rope = near;
  }
  validate_config(a, source);
  return a;
}

TensorSchema schema(const Architecture& a) { return llama_form_schema(a, {.norms_plus_one = true}); }

}  // namespace

const Family gemma3_family{
    .name = "gemma3_text",
    .description = "Gemma 3 (text): Gemma 2 without caps, norms on queries and keys, a rope of its own for windows",
    .variants = "GQA, MQA, sliding window in most layers",
    .positions = "rope, another one for windows: plain, linear",
    .tokenizer = "BPE with byte fallback",
    .refused = "images (nested text_config), attention in both directions",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
