#include "core/arch/families/gemma_form.h"
#include "core/arch/families/list.h"

namespace headscope {
namespace {

bool recognises(const Json& config) { return config_names(config, "gemma2", {"Gemma2ForCausalLM", "Gemma2Model"}); }

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  Architecture a = read_gemma_form(reader, "gemma2", "hidden_activation", {}, notes);
  set_gemma_scores(reader, 50, 30, a);
  set_windows(
      reader, read_window(reader, 4096), [](int64_t layer) { return layer % 2 == 0; }, a);
  validate_config(a, source);
  return a;
}

TensorSchema schema(const Architecture& a) { return llama_form_schema(a, {.norms_plus_one = true}); }

}  // namespace

const Family gemma2_family{
    .name = "gemma2",
    .description = "Gemma 2: Gemma with norms before and after, soft caps, and windows in every second layer",
    .variants = "GQA, sliding window in every second layer",
    .positions = "rope: plain",
    .tokenizer = "BPE with byte fallback",
    .refused = "",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
