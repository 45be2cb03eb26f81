#include "core/arch/families/gpt2_form.h"
#include "core/arch/families/list.h"

namespace headscope {
namespace {

bool recognises(const Json& config) {
  return config_names(config, "gpt2", {"GPT2LMHeadModel", "GPT2Model", "GPT2DoubleHeadsModel"});
}

/// Things that this model type can say and that are another model.
void refuse_other_models(const ConfigReader& reader) {
  // The first StarCoder models call themselves gpt2 but have one KV head and Linear weights.
  if (reader.boolean_or("multi_query", false)) {
    reader.refuse("multi_query", "false (gpt2 has no multi-query attention; gpt_bigcode is another family)");
  }
  if (reader.text_or("attention_head_type", "multihead") != "multihead") {
    reader.refuse("attention_head_type", "multihead (gpt2 has no multi-query attention)");
  }
}

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  const bool has_positions = reader.has(gpt2_positions);
  require_gpt2_keys(reader, has_positions ? gpt2_positions : ConfigKey{"n_positions", "n_ctx"});
  refuse_other_models(reader);
  // n_ctx says the same in old files; the table has n_positions rows.
  Architecture a = read_gpt2_form(reader, "gpt2", has_positions ? gpt2_positions : "n_ctx", 0, notes);
  if (reader.boolean_or("scale_attn_by_inverse_layer_idx", false)) {
    for (int64_t i = 0; i < a.layer_count(); ++i) a.layers[static_cast<size_t>(i)].scale /= static_cast<double>(i + 1);
  }
  validate_config(a, source);
  return a;
}

/// A Conv1D: stored [in, out].
TensorWish conv1d(std::string name, int64_t in, int64_t out, std::vector<WeightPart> parts) {
  TensorWish wish;
  wish.name = std::move(name);
  wish.shape = {in, out};
  wish.transposed = true;
  wish.parts = std::move(parts);
  return wish;
}

void add_conv1d(std::vector<TensorWish>& wishes, const std::string& name, int64_t in, int64_t out, Weight weight,
                Weight bias, int64_t layer) {
  wishes.push_back(conv1d(name + ".weight", in, out, {{weight, layer, {{0, out}}}}));
  wishes.push_back(whole(name + ".bias", {out}, bias, layer));
}

void add_layer(std::vector<TensorWish>& wishes, const Architecture& a, int64_t i) {
  const int64_t e = a.d_model;
  const int64_t width = a.layers[static_cast<size_t>(i)].mlp.width;
  const std::string h = fmt::format("h.{}.", i);
  add_linear(wishes, h + "ln_1", {e}, Weight::attention_norm, Weight::attention_norm_bias, true, i);
  // The columns of c_attn are all queries, then all keys, then all values.
  wishes.push_back(
      conv1d(h + "attn.c_attn.weight", e, 3 * e,
             {{Weight::query, i, {{0, e}}}, {Weight::key, i, {{e, e}}}, {Weight::value, i, {{2 * e, e}}}}));
  TensorWish bias = whole(h + "attn.c_attn.bias", {3 * e}, Weight::query_bias, i);
  bias.parts = {
      {Weight::query_bias, i, {{0, e}}}, {Weight::key_bias, i, {{e, e}}}, {Weight::value_bias, i, {{2 * e, e}}}};
  wishes.push_back(std::move(bias));
  add_conv1d(wishes, h + "attn.c_proj", e, e, Weight::attention_output, Weight::attention_output_bias, i);
  add_linear(wishes, h + "ln_2", {e}, Weight::mlp_norm, Weight::mlp_norm_bias, true, i);
  add_conv1d(wishes, h + "mlp.c_fc", e, width, Weight::mlp_up, Weight::mlp_up_bias, i);
  add_conv1d(wishes, h + "mlp.c_proj", width, e, Weight::mlp_down, Weight::mlp_down_bias, i);
}

TensorSchema schema(const Architecture& a) {
  return gpt2_form_schema(a, [&](std::vector<TensorWish>& wishes, int64_t layer) { add_layer(wishes, a, layer); });
}

}  // namespace

const Family gpt2_family{
    .name = "gpt2",
    .description = "GPT-2: learned positions, LayerNorm, fused QKV stored as Conv1D, biases everywhere",
    .variants = "MHA",
    .positions = "learned",
    .tokenizer = "byte-level BPE",
    .refused = "cross attention, multi-query forms",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
