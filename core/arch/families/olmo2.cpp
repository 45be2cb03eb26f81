#include "core/arch/families/list.h"
#include "core/arch/families/llama_form.h"

namespace headscope {
namespace {

bool recognises(const Json& config) { return config_names(config, "olmo2", {"Olmo2ForCausalLM", "Olmo2Model"}); }

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  Architecture a = read_llama_form(reader, "olmo2", {.norm_epsilon = 1e-5}, notes);
  for (Layer& layer : a.layers) {
    layer.qk_norm = QkNorm::whole;
    layer.norm_before = false;
    layer.norm_after = true;
  }
  validate_config(a, source);
  return a;
}

TensorSchema schema(const Architecture& a) { return llama_form_schema(a); }

}  // namespace

const Family olmo2_family{
    .name = "olmo2",
    .description = "OLMo 2: norms after attention and MLP, and over all heads' queries and keys",
    .variants = "MHA, GQA, MQA",
    .positions = "rope: plain, linear, llama3, yarn, dynamic",
    .tokenizer = "byte-level BPE",
    .refused = "other scalings",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
