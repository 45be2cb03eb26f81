#include "core/arch/families/list.h"
#include "core/arch/families/qwen.h"

namespace headscope {
namespace {

bool recognises(const Json& config) { return config_names(config, "qwen2", {"Qwen2ForCausalLM", "Qwen2Model"}); }

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  Architecture a = read_llama_form(reader, "qwen2", {}, notes);
  for (Layer& layer : a.layers) {
    layer.qkv_bias = true;  // whatever the config says: the model has no key for it
    layer.output_bias = false;
  }
  set_qwen_windows(reader, a);
  validate_config(a, source);
  return a;
}

TensorSchema schema(const Architecture& a) { return llama_form_schema(a); }

}  // namespace

const Family qwen2_family{
    .name = "qwen2",
    .description = "Qwen 2 and 2.5: Llama's form with biases on queries, keys and values",
    .variants = "MHA, GQA, MQA, sliding window in upper layers",
    .positions = "rope: plain, linear, llama3, yarn, dynamic",
    .tokenizer = "byte-level BPE",
    .refused = "mixtures of experts",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
