#include "core/arch/families/gpt2_form.h"
#include "core/arch/families/list.h"

namespace headscope {
namespace {

bool recognises(const Json& config) {
  return config_names(config, "gpt_bigcode", {"GPTBigCodeForCausalLM", "GPTBigCodeModel"});
}

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  require_gpt2_keys(reader, gpt2_positions);
  const int64_t kv_heads = reader.boolean_or("multi_query", true) ? 1 : 0;
  Architecture a = read_gpt2_form(reader, "gpt_bigcode", gpt2_positions, kv_heads, notes);
  validate_config(a, source);
  return a;
}

/// Linear weights, unlike GPT-2's; all queries, then the key and the value, or head by head without multi_query.
void add_layer(std::vector<TensorWish>& wishes, const Architecture& a, int64_t i) {
  const int64_t e = a.d_model, width = a.layers[static_cast<size_t>(i)].mlp.width;
  const std::string h = fmt::format("h.{}.", i);
  add_linear(wishes, h + "ln_1", {e}, Weight::attention_norm, Weight::attention_norm_bias, true, i);
  add_grouped_qkv(wishes, h + "attn.c_attn", a, i);
  add_linear(wishes, h + "attn.c_proj", {e, e}, Weight::attention_output, Weight::attention_output_bias, true, i);
  add_linear(wishes, h + "ln_2", {e}, Weight::mlp_norm, Weight::mlp_norm_bias, true, i);
  add_linear(wishes, h + "mlp.c_fc", {width, e}, Weight::mlp_up, Weight::mlp_up_bias, true, i);
  add_linear(wishes, h + "mlp.c_proj", {e, width}, Weight::mlp_down, Weight::mlp_down_bias, true, i);
}

TensorSchema schema(const Architecture& a) {
  return gpt2_form_schema(a, [&](std::vector<TensorWish>& wishes, int64_t layer) { add_layer(wishes, a, layer); });
}

}  // namespace

const Family gpt_bigcode_family{
    .name = "gpt_bigcode",
    .description = "GPT-BigCode and StarCoder: GPT-2's form with one KV head for all query heads",
    .variants = "MQA, MHA",
    .positions = "learned",
    .tokenizer = "byte-level BPE",
    .refused = "cross attention",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
