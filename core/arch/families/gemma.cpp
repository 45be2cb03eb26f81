#include "core/arch/families/gemma_form.h"
#include "core/arch/families/list.h"

namespace headscope {
namespace {

bool recognises(const Json& config) { return config_names(config, "gemma", {"GemmaForCausalLM", "GemmaModel"}); }

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  // The first configs say "gelu" and mean its tanh form; hidden_activation, where given, says it right.
  const ConfigKey activation = reader.has("hidden_activation") ? "hidden_activation" : "hidden_act";
  Architecture a = read_gemma_form(reader, "gemma", activation, {}, notes);
  for (Layer& layer : a.layers) {
    if (layer.mlp.activation == Activation::gelu) layer.mlp.activation = Activation::gelu_tanh;
  }
  validate_config(a, source);
  return a;
}

TensorSchema schema(const Architecture& a) { return llama_form_schema(a, {.norms_plus_one = true}); }

}  // namespace

const Family gemma_family{
    .name = "gemma",
    .description = "Gemma 1: Llama's form with scaled embeddings, norms that store the weight minus 1, wide heads",
    .variants = "MHA, MQA",
    .positions = "rope: plain",
    .tokenizer = "BPE with byte fallback",
    .refused = "",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
