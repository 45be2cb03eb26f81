#include <array>

#include "core/arch/families/gpt2_form.h"
#include "core/arch/families/list.h"

namespace headscope {
namespace {

bool recognises(const Json& config) {
  return config_names(config, "gpt2",
                      {"GPT2LMHeadModel", "GPT2Model", "GPT2DoubleHeadsModel", "GPT2LMHeadCustomModel"});
}

/// SantaCoder's own code calls its models gpt2, too, and says here which attention they have. 0: a KV head for each
/// query head.
int64_t read_kv_heads(const ConfigReader& reader) {
  static constexpr std::array<std::pair<std::string_view, int64_t>, 2> types{{{"multihead", 0}, {"multiquery", 1}}};
  const int64_t kv_heads = reader.choice_or("attention_head_type", int64_t{0}, types);
  // A key of GPT-BigCode, whose weights are stored in another way.
  if (reader.boolean_or("multi_query", kv_heads == 1) != (kv_heads == 1)) {
    reader.refuse("multi_query", "absent or as attention_head_type says (gpt_bigcode is another family)");
  }
  return kv_heads;
}

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  const bool has_positions = reader.has(gpt2_positions);
  require_gpt2_keys(reader, has_positions ? gpt2_positions : ConfigKey{"n_positions", "n_ctx"});
  // n_ctx says the same in old files; the table has n_positions rows.
  Architecture a =
      read_gpt2_form(reader, "gpt2", has_positions ? gpt2_positions : "n_ctx", read_kv_heads(reader), notes);
  if (reader.boolean_or("scale_attn_by_inverse_layer_idx", false)) {
    for (int64_t i = 0; i < a.layer_count(); ++i) a.layers[static_cast<size_t>(i)].scale /= static_cast<double>(i + 1);
  }
  validate_config(a, source);
  return a;
}

/// A Conv1D, stored [in, out], with its bias. Its columns are these weights side by side.
struct Columns {
  Weight weight, bias;
  int64_t count;
};

void add_conv1d(std::vector<TensorWish>& wishes, const std::string& name, int64_t in, const std::vector<Columns>& parts,
                int64_t layer) {
  TensorWish weight, bias;
  weight.name = name + ".weight";
  weight.transposed = true;
  bias.name = name + ".bias";
  int64_t out = 0;
  for (const Columns& part : parts) {
    weight.parts.push_back({part.weight, layer, {{out, part.count}}});
    bias.parts.push_back({part.bias, layer, {{out, part.count}}});
    out += part.count;
  }
  weight.shape = {in, out};
  bias.shape = {out};
  wishes.push_back(std::move(weight));
  wishes.push_back(std::move(bias));
}

/// GPT-2's c_attn: all queries, then all keys, then all values. SantaCoder's multi-query models have the queries apart
/// from the key and the value; files that join them do it in the same order.
void add_qkv(std::vector<TensorWish>& wishes, const Architecture& a, int64_t i) {
  const KvStore& store = a.store_of(i);
  const int64_t e = a.d_model, keys = store.kv_heads * store.key_dim;
  const std::string attention = fmt::format("h.{}.attn.", i);
  const Columns q{Weight::query, Weight::query_bias, e}, k{Weight::key, Weight::key_bias, keys};
  const Columns v{Weight::value, Weight::value_bias, keys};
  if (store.kv_heads == a.layers[static_cast<size_t>(i)].q_heads) {
    add_conv1d(wishes, attention + "c_attn", e, {q, k, v}, i);
    return;
  }
  const size_t first = wishes.size();
  add_conv1d(wishes, attention + "q_attn", e, {q}, i);
  add_conv1d(wishes, attention + "kv_attn", e, {k, v}, i);
  for (size_t w = first; w < wishes.size(); ++w) {
    wishes[w].held_by = attention + (wishes[w].transposed ? "c_attn.weight" : "c_attn.bias");
  }
  add_conv1d(wishes, attention + "c_attn", e, {q, k, v}, i);
  wishes[wishes.size() - 2].optional = wishes[wishes.size() - 1].optional = true;
}

void add_layer(std::vector<TensorWish>& wishes, const Architecture& a, int64_t i) {
  const int64_t e = a.d_model;
  const int64_t width = a.layers[static_cast<size_t>(i)].mlp.width;
  const std::string h = fmt::format("h.{}.", i);
  add_linear(wishes, h + "ln_1", {e}, Weight::attention_norm, Weight::attention_norm_bias, true, i);
  add_qkv(wishes, a, i);
  add_conv1d(wishes, h + "attn.c_proj", e, {{Weight::attention_output, Weight::attention_output_bias, e}}, i);
  add_linear(wishes, h + "ln_2", {e}, Weight::mlp_norm, Weight::mlp_norm_bias, true, i);
  add_conv1d(wishes, h + "mlp.c_fc", e, {{Weight::mlp_up, Weight::mlp_up_bias, width}}, i);
  add_conv1d(wishes, h + "mlp.c_proj", width, {{Weight::mlp_down, Weight::mlp_down_bias, e}}, i);
}

TensorSchema schema(const Architecture& a) {
  return gpt2_form_schema(a, [&](std::vector<TensorWish>& wishes, int64_t layer) { add_layer(wishes, a, layer); });
}

}  // namespace

const Family gpt2_family{
    .name = "gpt2",
    .description = "GPT-2 and SantaCoder: learned positions, LayerNorm, weights stored as Conv1D, biases everywhere",
    .variants = "MHA, MQA",
    .positions = "learned",
    .tokenizer = "byte-level BPE",
    .refused = "cross attention",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
