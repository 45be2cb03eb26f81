#include <array>

#include "core/arch/families/list.h"
#include "core/arch/families/neox_form.h"

namespace headscope {
namespace {

/// The released models call themselves gpt_neox.
bool recognises(const Json& config) {
  return config_names(config, "gpt_neox", {"GPTNeoXForCausalLM", "GPTNeoXMLKVForCausalLM"}) && shares_layers(config);
}

/// The layers that write a cache: m of them, spaced over all (kv-variants.md 1.1).
std::vector<int64_t> owners(int64_t layers, int64_t count) {
  std::vector<int64_t> out = {0};
  for (int64_t i = 1; i < count; ++i) out.push_back(i * layers / count);
  return out;
}

/// Lets every layer read the nearest owner at or below it. The released weights were trained with keys that readers see
/// before rope (kv-variants.md 1.4), so they are stored unrotated and their owner rotates what it reads.
void share_caches(Architecture& a, const std::vector<int64_t>& owning, int64_t kv_heads, bool rotated) {
  const KvStore whole = a.kv_stores.front();
  a.kv_stores.clear();
  for (const int64_t owner : owning) {
    a.kv_stores.push_back(whole);
    a.kv_stores.back().layer = owner;
    a.kv_stores.back().kv_heads = kv_heads;
    a.kv_stores.back().keys_rotated = rotated;
  }
  for (int64_t i = 0, next = 0; i < a.layer_count(); ++i) {
    while (next < std::ssize(owning) && owning[static_cast<size_t>(next)] <= i) ++next;
    Layer& layer = a.layers[static_cast<size_t>(i)];
    layer.kv_owner = owning[static_cast<size_t>(next - 1)];
    layer.rotate_on_read = !rotated && layer.kv_owner == i;
  }
}

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  reader.require({"num_key_value_layers", "num_key_value_heads"});
  Architecture a = read_neox_form(reader, "mlkv", notes);
  const int64_t heads = a.layers.front().q_heads;
  const int64_t kv_heads = reader.integer("num_key_value_heads", 1, limits::heads);
  if (heads % kv_heads != 0) {
    reader.refuse("num_key_value_heads", fmt::format("a number that must divide num_attention_heads ({})", heads));
  }
  const int64_t count = reader.integer("num_key_value_layers", 1, a.layer_count());
  static constexpr std::array<std::pair<std::string_view, bool>, 2> conventions{
      {{"unrotated", false}, {"rotated", true}}};
  const bool rotated = reader.choice_or("consumer_keys", false, conventions);
  if (reader.boolean_or("use_key_value_mlp", false)) {
    reader.refuse("use_key_value_mlp", "false (an MLP before keys and values is not supported)");
  }
  if (!rotated && count < a.layer_count()) {
    notes.push_back(
        "layers that read another's cache see its keys before rope, as the released MLKV weights were trained; "
        "\"consumer_keys\": \"rotated\" in the config says otherwise");
  }
  share_caches(a, owners(a.layer_count(), count), kv_heads, rotated);
  validate_config(a, source);
  return a;
}

void add_qkv(std::vector<TensorWish>& wishes, const Architecture& a, int64_t i) {
  const Layer& layer = a.layers[static_cast<size_t>(i)];
  const KvStore& store = a.store_of(i);
  const std::string attention = fmt::format("layers.{}.attention.", i);
  const int64_t keys = store.kv_heads * store.key_dim;
  add_linear(wishes, attention + "query", {layer.q_heads * store.key_dim, a.d_model}, Weight::query, Weight::query_bias,
             layer.qkv_bias, i);
  if (!a.owns_cache(i)) return;
  add_linear(wishes, attention + "key", {keys, a.d_model}, Weight::key, Weight::key_bias, layer.qkv_bias, i);
  add_linear(wishes, attention + "value", {keys, a.d_model}, Weight::value, Weight::value_bias, layer.qkv_bias, i);
}

TensorSchema schema(const Architecture& a) {
  return neox_form_schema(a, [&](std::vector<TensorWish>& wishes, int64_t layer) { add_qkv(wishes, a, layer); });
}

}  // namespace

const Family mlkv_family{
    .name = "mlkv",
    .description = "Pythia with multi-layer key-value sharing: some layers read the cache of another",
    .variants = "MLKV, GQA, MQA",
    .positions = "rope on a part of each head; readers see keys before rope, or rotated by consumer_keys",
    .tokenizer = "byte-level BPE",
    .refused = "use_key_value_mlp",
    .recognises = recognises,
    .architecture = architecture,
    .schema = schema,
};

}  // namespace headscope
