#include "core/arch/families/list.h"
#include "core/arch/families/llama_form.h"

namespace headscope {
namespace {

bool recognises(const Json& config) { return config_names(config, "llama", {"LlamaForCausalLM", "LlamaModel"}); }

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  Architecture a = read_llama_form(reader, "llama", {}, notes);
  for (Layer& layer : a.layers) layer.mlp.bias = reader.boolean_or("mlp_bias", false);
  if (reader.integer_or("pretraining_tp", 1, 0, limits::heads) > 1) {
    notes.push_back("pretraining_tp only changes the order of sums in training and is ignored");
  }
  if (reader.has("sliding_window")) notes.push_back("llama models have no sliding window: sliding_window is ignored");
  validate_config(a, source);
  return a;
}

TensorSchema schema(const Architecture& a) { return llama_form_schema(a); }

}  // namespace

const Family llama_family{
    .name = "llama",
    .description = "Llama 1 to 3 and models of that form: rope, RMSNorm, gated MLP, grouped KV heads",
    .variants = "MHA, GQA, MQA",
    .positions = "rope: plain, linear, llama3, yarn, dynamic",
    .tokenizer = "byte-level BPE or BPE with byte fallback",
    .refused = "other scalings",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
