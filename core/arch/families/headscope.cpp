#include <array>

#include "core/arch/families/common.h"
#include "core/arch/families/headscope_schema.h"
#include "core/arch/families/list.h"
#include "core/arch/names.h"
#include "core/arch/rope.h"

// HeadScope's own config: an Architecture field by field, so that trained and converted models can have any owner of a
// cache, any store and any layer. Keys are those of core/arch/architecture.h; one that is left out has the default
// there, one that is not known is refused. Tensors are named as Weight is: "token_embedding", "layers.3.query_bias".
namespace headscope {
namespace {

template <class Value, size_t count>
using Names = std::array<std::pair<std::string_view, Value>, count>;

constexpr Names<Norm, 2> norms{{{"layer_norm", Norm::layer_norm}, {"rms_norm", Norm::rms_norm}}};
constexpr Names<Residual, 2> residuals{{{"sequential", Residual::sequential}, {"parallel", Residual::parallel}}};
constexpr Names<Router::Score, 2> scores{{{"softmax", Router::Score::softmax}, {"sigmoid", Router::Score::sigmoid}}};
constexpr Names<QkNorm, 3> qk_norms{{{"none", QkNorm::none}, {"per_head", QkNorm::per_head}, {"whole", QkNorm::whole}}};
constexpr Names<RotationStyle, 2> styles{
    {{"rotate_half", RotationStyle::rotate_half}, {"interleaved", RotationStyle::interleaved}}};

/// The values under the names that files and messages have for them.
template <class Value, size_t count>
Names<Value, count> named(const Value (&values)[count], std::string_view (*name)(Value)) {
  Names<Value, count> out;
  for (size_t i = 0; i < count; ++i) out[i] = {name(values[i]), values[i]};
  return out;
}

PositionScheme read_scheme(const ConfigReader& reader) {
  using enum PositionScheme;
  return reader.choice_or("scheme", none, named({none, learned, rope, alibi}, position_name));
}

RopeScaling::Kind read_kind(const ConfigReader& reader) {
  using enum RopeScaling::Kind;
  return reader.choice_or("kind", none, named({none, linear, llama3, yarn, dynamic}, rope_scaling_name));
}

Stored read_stored(const ConfigReader& reader) {
  using enum Stored;
  return reader.choice_or("stored", keys_and_values,
                          named({keys_and_values, values_only, keys_only, latent}, stored_name));
}

bool recognises(const Json& config) { return config_names(config, "headscope", {}); }

RopeScaling read_scaling(const ConfigReader& reader) {
  reader.allow_only({"kind", "factor", "low_freq_factor", "high_freq_factor", "original_context", "beta_fast",
                     "beta_slow", "attention_factor"});
  RopeScaling out;
  out.kind = read_kind(reader);
  out.factor = reader.positive_or("factor", out.factor);
  out.low_freq_factor = reader.positive_or("low_freq_factor", out.low_freq_factor);
  out.high_freq_factor = reader.positive_or("high_freq_factor", out.high_freq_factor);
  out.original_context = reader.integer_or("original_context", out.original_context, 0, limits::context);
  out.beta_fast = reader.positive_or("beta_fast", out.beta_fast);
  out.beta_slow = reader.positive_or("beta_slow", out.beta_slow);
  out.attention_factor = reader.positive_or("attention_factor", out.attention_factor);
  return out;
}

Rope read_rope(const ConfigReader& reader) {
  reader.allow_only({"style", "dims", "base", "scaling"});
  Rope out;
  out.style = reader.choice_or("style", out.style, styles);
  out.dims = reader.integer("dims", 2, limits::head_dim);
  out.base = reader.positive_or("base", out.base);
  if (reader.has("scaling")) out.scaling = read_scaling(reader.section("scaling"));
  return out;
}

Position read_position(const ConfigReader& reader) {
  reader.allow_only({"scheme", "rope", "learned_offset", "alibi_slopes", "alibi_scale", "alibi_bf16"});
  Position out;
  out.scheme = read_scheme(reader);
  if (reader.has("rope")) out.rope = read_rope(reader.section("rope"));
  out.learned_offset = reader.integer_or("learned_offset", 0, 0, limits::context);
  out.alibi_slopes = reader.numbers("alibi_slopes");
  out.alibi_scale = reader.positive_or("alibi_scale", out.alibi_scale);
  out.alibi_bf16 = reader.boolean_or("alibi_bf16", out.alibi_bf16);
  return out;
}

Router read_router(const ConfigReader& reader) {
  reader.allow_only({"score", "choice_bias", "groups", "groups_active", "group_best", "normalised", "scale"});
  Router out;
  out.score = reader.choice_or("score", out.score, scores);
  out.choice_bias = reader.boolean_or("choice_bias", out.choice_bias);
  out.groups = reader.integer_or("groups", out.groups, 1, limits::experts);
  out.groups_active = reader.integer_or("groups_active", out.groups_active, 1, limits::experts);
  out.group_best = reader.integer_or("group_best", out.group_best, 1, limits::experts);
  out.normalised = reader.boolean_or("normalised", out.normalised);
  out.scale = reader.positive_or("scale", out.scale);
  return out;
}

Mlp read_mlp(const ConfigReader& reader) {
  reader.allow_only({"width", "gated", "bias", "activation", "experts", "experts_active", "shared_width", "router"});
  Mlp out;
  out.width = reader.integer("width", 1, limits::mlp_width);
  out.gated = reader.boolean_or("gated", out.gated);
  out.bias = reader.boolean_or("bias", out.bias);
  out.activation = read_activation(reader, "activation", out.activation);
  out.experts = reader.integer_or("experts", out.experts, 1, limits::experts);
  out.experts_active = reader.integer_or("experts_active", out.experts_active, 1, limits::experts);
  out.shared_width = reader.integer_or("shared_width", out.shared_width, 0, limits::mlp_width);
  if (reader.has("router")) out.router = read_router(reader.section("router"));
  return out;
}

Mla read_mla(const ConfigReader& reader) {
  reader.allow_only({"query_rank", "content_dim", "value_dim", "norm_epsilon"});
  reader.require({"content_dim", "value_dim"});
  Mla out;
  out.query_rank = reader.integer_or("query_rank", out.query_rank, 0, limits::d_model);
  out.content_dim = reader.integer("content_dim", 1, limits::head_dim);
  out.value_dim = reader.integer("value_dim", 1, limits::head_dim);
  out.norm_epsilon = reader.positive_or("norm_epsilon", out.norm_epsilon);
  return out;
}

/// 0 is none, as where the key is left out.
double read_cap(const ConfigReader& reader, const ConfigKey& key) {
  return reader.has(key) && !reader.is_zero(key) ? reader.positive(key) : 0;
}

Layer read_layer(const ConfigReader& reader, int64_t index) {
  reader.allow_only({"q_heads", "kv_owner", "scale", "window", "soft_cap", "qk_norm", "mla", "rope", "rotate_query",
                     "rotate_on_read", "qkv_bias", "output_bias", "norm_before", "norm_after", "residual",
                     "shared_input_norm", "mlp"});
  reader.require({"q_heads", "scale", "mlp"});
  Layer out;
  out.q_heads = reader.integer("q_heads", 1, limits::heads);
  out.kv_owner = reader.integer_or("kv_owner", index, 0, limits::layers);
  out.scale = reader.positive("scale");
  out.window = reader.integer_or("window", 0, 0, limits::context);
  out.soft_cap = read_cap(reader, "soft_cap");
  out.qk_norm = reader.choice_or("qk_norm", out.qk_norm, qk_norms);
  if (reader.has("mla")) out.mla = read_mla(reader.section("mla"));
  if (reader.has("rope")) out.rope = read_rope(reader.section("rope"));
  out.rotate_query = reader.boolean_or("rotate_query", out.rotate_query);
  out.rotate_on_read = reader.boolean_or("rotate_on_read", out.rotate_on_read);
  out.qkv_bias = reader.boolean_or("qkv_bias", out.qkv_bias);
  out.output_bias = reader.boolean_or("output_bias", out.output_bias);
  out.norm_before = reader.boolean_or("norm_before", out.norm_before);
  out.norm_after = reader.boolean_or("norm_after", out.norm_after);
  out.residual = reader.choice_or("residual", out.residual, residuals);
  out.shared_input_norm = reader.boolean_or("shared_input_norm", out.shared_input_norm);
  out.mlp = read_mlp(reader.section("mlp"));
  return out;
}

KvStore read_store(const ConfigReader& reader) {
  reader.allow_only({"layer", "kv_heads", "key_dim", "value_dim", "window", "stored", "keys_rotated"});
  reader.require({"layer", "kv_heads", "key_dim", "value_dim"});
  KvStore out;
  out.layer = reader.integer("layer", 0, limits::layers);
  out.kv_heads = reader.integer("kv_heads", 1, limits::heads);
  out.key_dim = reader.integer("key_dim", 1, limits::head_dim);
  out.value_dim = reader.integer("value_dim", 1, limits::head_dim);
  out.window = reader.integer_or("window", 0, 0, limits::context);
  out.stored = read_stored(reader);
  out.keys_rotated = reader.boolean_or("keys_rotated", out.keys_rotated);
  return out;
}

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  reader.allow_only({"model_type", "vocab_size", "d_model", "context", "norm", "norm_epsilon", "embedding_scale",
                     "logits_soft_cap", "tied_embeddings", "lm_head_bias", "bos_token_id", "eos_token_id", "position",
                     "layers", "kv_stores"});
  reader.require({"vocab_size", "d_model", "context", "position", "layers", "kv_stores"});
  Architecture a;
  a.family = "headscope";
  a.d_model = reader.integer("d_model", 1, limits::d_model);
  a.vocab_size = reader.integer("vocab_size", 1, limits::vocab);
  a.context = reader.integer("context", 1, limits::context);
  a.norm = reader.choice_or("norm", a.norm, norms);
  a.norm_epsilon = reader.positive_or("norm_epsilon", a.norm_epsilon);
  a.embedding_scale = reader.positive_or("embedding_scale", a.embedding_scale);
  a.logits_soft_cap = read_cap(reader, "logits_soft_cap");
  a.tied_embeddings = reader.boolean_or("tied_embeddings", a.tied_embeddings);
  a.lm_head_bias = reader.boolean_or("lm_head_bias", a.lm_head_bias);
  read_special_ids(reader, a, notes);
  a.position = read_position(reader.section("position"));
  for (const ConfigReader& layer : reader.sections("layers", limits::layers)) {
    a.layers.push_back(read_layer(layer, a.layer_count()));
  }
  for (const ConfigReader& store : reader.sections("kv_stores", limits::layers)) {
    a.kv_stores.push_back(read_store(store));
  }
  validate_config(a, source);
  return a;
}

}  // namespace

const Family headscope_family{
    .name = "headscope",
    .description = "HeadScope's own: any architecture that it can represent, layer by layer",
    .variants = "any owner of each layer's cache, any heads, widths and windows; values only, keys only, latents",
    .positions = "learned, rope (of the model or of a layer), ALiBi, none",
    .tokenizer = "any that is supported",
    .refused = "",
    .recognises = recognises,
    .architecture = architecture,
    .schema = headscope_schema,
};

}  // namespace headscope
