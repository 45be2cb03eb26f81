#include "core/arch/families/list.h"
#include "core/arch/families/llama_form.h"

namespace headscope {
namespace {

bool recognises(const Json& config) { return config_names(config, "mistral", {"MistralForCausalLM", "MistralModel"}); }

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  Architecture a = read_llama_form(reader, "mistral", {}, notes);
  const int64_t window = read_window(reader, 4096);
  for (Layer& layer : a.layers) {
    layer.window = window;
    layer.qkv_bias = layer.output_bias = false;  // whatever the config says: the model has no key for them
  }
  for (KvStore& store : a.kv_stores) store.window = window;
  validate_config(a, source);
  return a;
}

TensorSchema schema(const Architecture& a) { return llama_form_schema(a); }

}  // namespace

const Family mistral_family{
    .name = "mistral",
    .description = "Mistral: Llama's form with a sliding window in every layer",
    .variants = "MHA, GQA, MQA, sliding window",
    .positions = "rope: plain, linear, llama3, yarn, dynamic",
    .tokenizer = "BPE with byte fallback or byte-level BPE",
    .refused = "other scalings, mixtures of experts",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
