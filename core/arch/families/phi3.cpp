#include "core/arch/families/list.h"
#include "core/arch/families/llama_form.h"

namespace headscope {
namespace {

bool recognises(const Json& config) { return config_names(config, "phi3", {"Phi3ForCausalLM", "Phi3Model"}); }

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  Architecture a = read_llama_form(reader, "phi3", {.norm_epsilon = 1e-5, .rope = {.partial_allowed = true}}, notes);
  if (a.position.rope.scaling.kind != RopeScaling::Kind::none) {
    fail("{}: rope_scaling of a phi3 model must be absent or default (its yarn means longrope, which is not supported)",
         source);
  }
  const int64_t window = reader.has("sliding_window") ? read_window(reader, 0) : 0;
  for (Layer& layer : a.layers) {
    layer.window = window;
    layer.qkv_bias = layer.output_bias = false;
  }
  for (KvStore& store : a.kv_stores) store.window = window;
  validate_config(a, source);
  return a;
}

TensorSchema schema(const Architecture& a) { return llama_form_schema(a, {.fused = true}); }

}  // namespace

const Family phi3_family{
    .name = "phi3",
    .description = "Phi-3 and Phi-4: Llama's form in fused tensors, partial rope, sliding window",
    .variants = "MHA, GQA, MQA, sliding window",
    .positions = "rope on whole heads or a part: plain",
    .tokenizer = "BPE with byte fallback or byte-level BPE",
    .refused = "longrope",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
