#include "core/arch/families/list.h"
#include "core/arch/families/neox_form.h"

namespace headscope {
namespace {

bool recognises(const Json& config) {
  return config_names(config, "gpt_neox", {"GPTNeoXForCausalLM", "GPTNeoXModel"}) && !shares_layers(config);
}

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  Architecture a = read_neox_form(ConfigReader(config, source), "gpt_neox", notes);
  validate_config(a, source);
  return a;
}

TensorSchema schema(const Architecture& a) {
  return neox_form_schema(a, [&](std::vector<TensorWish>& wishes, int64_t layer) {
    add_grouped_qkv(wishes, fmt::format("layers.{}.attention.query_key_value", layer), a, layer);
  });
}

}  // namespace

const Family gpt_neox_family{
    .name = "gpt_neox",
    .description = "GPT-NeoX and Pythia: rope on a part of each head, LayerNorm, QKV fused head by head",
    .variants = "MHA",
    .positions = "rope on a part of each head: plain, linear, llama3, yarn, dynamic",
    .tokenizer = "byte-level BPE",
    .refused = "",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
