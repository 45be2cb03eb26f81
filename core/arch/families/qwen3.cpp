#include "core/arch/families/list.h"
#include "core/arch/families/qwen.h"

namespace headscope {
namespace {

bool recognises(const Json& config) { return config_names(config, "qwen3", {"Qwen3ForCausalLM", "Qwen3Model"}); }

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  Architecture a = read_llama_form(reader, "qwen3", {.head_dim = 128}, notes);
  for (Layer& layer : a.layers) layer.qk_norm = QkNorm::per_head;
  set_qwen_windows(reader, a);
  validate_config(a, source);
  return a;
}

TensorSchema schema(const Architecture& a) { return llama_form_schema(a); }

}  // namespace

const Family qwen3_family{
    .name = "qwen3",
    .description = "Qwen 3 (dense): Llama's form with norms on each head's queries and keys",
    .variants = "MHA, GQA, MQA, sliding window in some layers",
    .positions = "rope: plain, linear, llama3, yarn, dynamic",
    .tokenizer = "byte-level BPE",
    .refused = "mixtures of experts",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
