#include "core/arch/architecture.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"

namespace headscope {
namespace {

void check_size(const std::string& field, int64_t value, int64_t min, int64_t max) {
  if (value < min || value > max) fail("{} must be from {} to {}, but is {}", field, min, max, value);
}

void check_positive(const std::string& field, double value) {
  if (!std::isfinite(value) || value <= 0) fail("{} must be a finite number above 0, but is {}", field, value);
}

void check_cap(const std::string& field, double value) {
  if (!std::isfinite(value) || value < 0) fail("{} must be a finite number, 0 or above, but is {}", field, value);
}

void check_store(const Architecture& a, const KvStore& store, size_t index) {
  const std::string field = fmt::format("kv_stores[{}].", index);
  check_size(field + "kv_heads", store.kv_heads, 1, limits::heads);
  check_size(field + "key_dim", store.key_dim, 1, limits::head_dim);
  check_size(field + "value_dim", store.value_dim, 1, limits::head_dim);
  check_size(field + "window", store.window, 0, limits::context);
  const bool rope = a.position.scheme == PositionScheme::rope;
  if (store.keys_rotated && !rope) fail("{}keys_rotated is true, but the position scheme is not rope", field);
  switch (store.stored) {
    case Stored::keys_and_values:
      break;
    case Stored::values_only:
      if (store.keys_rotated) fail("{}keys_rotated is true, but only values are stored", field);
      [[fallthrough]];
    case Stored::keys_only:
      if (store.keys_rotated) fail("{}keys_rotated is true, but values are made from the keys before rope", field);
      if (store.key_dim != store.value_dim) {
        fail("{}key_dim ({}) must equal value_dim ({}) when one is made from the other", field, store.key_dim,
             store.value_dim);
      }
      break;
    case Stored::latent:
      if (store.kv_heads != 1) fail("{}kv_heads must be 1 for a latent, but is {}", field, store.kv_heads);
      if (store.value_dim > store.key_dim) {
        fail("{}value_dim ({}) must not be above key_dim ({}): a latent's value is a part of its key", field,
             store.value_dim, store.key_dim);
      }
  }
}

void check_owners(const Architecture& a) {
  std::vector<int64_t> owners;
  for (int64_t i = 0; i < a.layer_count(); ++i) {
    const int64_t owner = a.layers[static_cast<size_t>(i)].kv_owner;
    const std::string field = fmt::format("layers[{}].kv_owner", i);
    check_size(field, owner, 0, a.layer_count() - 1);
    if (owner > i) fail("{} is {}, a later layer: an owner must come before its readers", field, owner);
    if (!a.owns_cache(owner)) fail("{} is {}, which owns no cache itself", field, owner);
    if (owner == i) owners.push_back(i);
  }
  if (a.kv_stores.size() != owners.size()) {
    fail("kv_stores must have one entry for each of the {} owning layers, but has {}", owners.size(),
         a.kv_stores.size());
  }
  for (size_t s = 0; s < owners.size(); ++s) {
    if (a.kv_stores[s].layer != owners[s]) {
      fail("kv_stores[{}].layer must be {}, the next owning layer, but is {}", s, owners[s], a.kv_stores[s].layer);
    }
  }
}

void check_mlp(const Mlp& mlp, const std::string& layer) {
  check_size(layer + "mlp.width", mlp.width, 1, limits::mlp_width);
  check_size(layer + "mlp.experts", mlp.experts, 1, limits::experts);
  check_size(layer + "mlp.experts_active", mlp.experts_active, 1, mlp.experts);
  check_size(layer + "mlp.shared_width", mlp.shared_width, 0, limits::mlp_width);
  if (mlp.experts == 1) {
    if (mlp.shared_width > 0) fail("{}mlp.shared_width is {}, but there is one expert", layer, mlp.shared_width);
    if (mlp.router != Router{}) fail("{}mlp.router is given, but there is one expert", layer);
    return;
  }
  if (mlp.bias) fail("{}mlp.bias is true, but experts have no biases", layer);
  const Router& router = mlp.router;
  check_size(layer + "mlp.router.groups", router.groups, 1, mlp.experts);
  if (mlp.experts % router.groups != 0) {
    fail("{}mlp.router.groups is {}, which does not divide the {} experts", layer, router.groups, mlp.experts);
  }
  const int64_t group = mlp.experts / router.groups;
  check_size(layer + "mlp.router.groups_active", router.groups_active, 1, router.groups);
  check_size(layer + "mlp.router.group_best", router.group_best, 1, group);
  check_size(layer + "mlp.experts_active", mlp.experts_active, 1, router.groups_active * group);
  check_positive(layer + "mlp.router.scale", router.scale);
}

/// `field` is "position.rope." or that of a layer.
void check_rope(const Rope& rope, const std::string& field) {
  check_size(field + "dims", rope.dims, 2, limits::head_dim);
  if (rope.dims % 2 != 0) fail("{}dims must be even, but is {}", field, rope.dims);
  if (!std::isfinite(rope.base) || rope.base < 1) {
    fail("{}base must be a finite number of at least 1, but is {}", field, rope.base);
  }
  const RopeScaling& scaling = rope.scaling;
  check_positive(field + "scaling.factor", scaling.factor);
  if (scaling.kind == RopeScaling::Kind::yarn) {
    check_positive(field + "scaling.beta_fast", scaling.beta_fast);
    check_positive(field + "scaling.beta_slow", scaling.beta_slow);
    check_positive(field + "scaling.attention_factor", scaling.attention_factor);
    check_size(field + "scaling.original_context", scaling.original_context, 1, limits::context);
  }
  if (scaling.kind == RopeScaling::Kind::dynamic) {
    check_size(field + "scaling.original_context", scaling.original_context, 1, limits::context);
    if (rope.dims == 2) fail("{}dims must be above 2 with dynamic scaling, whose formula divides by dims - 2", field);
  }
  if (scaling.kind != RopeScaling::Kind::llama3) return;
  check_positive(field + "scaling.low_freq_factor", scaling.low_freq_factor);
  check_positive(field + "scaling.high_freq_factor", scaling.high_freq_factor);
  if (scaling.high_freq_factor <= scaling.low_freq_factor) {
    fail("{}scaling.high_freq_factor ({}) must be above low_freq_factor ({})", field, scaling.high_freq_factor,
         scaling.low_freq_factor);
  }
  check_size(field + "scaling.original_context", scaling.original_context, 1, limits::context);
}

void check_mla(const Architecture& a, int64_t index, const std::string& field) {
  const Layer& layer = a.layers[static_cast<size_t>(index)];
  const KvStore& store = a.store_of(index);
  if (layer.mla.has_value() != (store.stored == Stored::latent)) {
    fail("{}mla must be given when, and only when, the cache that the layer reads stores latents; that of layer {} {}",
         field, store.layer, layer.mla ? "does not" : "does");
  }
  if (!layer.mla) return;
  check_size(field + "mla.query_rank", layer.mla->query_rank, 0, limits::d_model);
  check_size(field + "mla.content_dim", layer.mla->content_dim, 1, limits::head_dim);
  check_size(field + "mla.value_dim", layer.mla->value_dim, 1, limits::head_dim);
  check_positive(field + "mla.norm_epsilon", layer.mla->norm_epsilon);
  if (layer.qk_norm != QkNorm::none) fail("{}qk_norm must be none in a layer that reads latents", field);
  const int64_t query = layer.mla->content_dim + store.rope_key();
  check_size(field + "q_heads * (mla.content_dim + rope key)", layer.q_heads * query, 1, limits::projection);
  check_size(field + "q_heads * mla.value_dim", layer.q_heads * layer.mla->value_dim, 1, limits::projection);
}

void check_layer(const Architecture& a, int64_t index) {
  const Layer& layer = a.layers[static_cast<size_t>(index)];
  const KvStore& store = a.store_of(index);
  const std::string field = fmt::format("layers[{}].", index);
  if (layer.rope) check_rope(*layer.rope, field + "rope.");
  const int64_t rotatable = store.key_dim - store.rope_offset();
  if (a.position.scheme == PositionScheme::rope && a.rope_of(index).dims > rotatable) {
    fail("{}rope.dims ({}) must not be above the {} ({})", layer.rope ? field : "position.", a.rope_of(index).dims,
         store.stored == Stored::latent ? "width of the rope key" : "key_dim of its keys", rotatable);
  }
  check_mla(a, index, field);
  if (store.stored == Stored::keys_only && store.layer == index && layer.qk_norm != QkNorm::none) {
    fail("{}qk_norm is {}, but values cannot be rebuilt from keys that were normalised; use none, or store values, too",
         field, layer.qk_norm == QkNorm::whole ? "whole" : "per_head");
  }
  check_size(field + "q_heads", layer.q_heads, 1, limits::heads);
  if (layer.q_heads % store.kv_heads != 0) {
    fail("{}q_heads is {}, which the {} KV heads of layer {} do not divide", field, layer.q_heads, store.kv_heads,
         store.layer);
  }
  check_size(field + "q_heads * key_dim", layer.q_heads * store.key_dim, 1, limits::projection);
  check_size(field + "q_heads * value_dim", layer.q_heads * store.value_dim, 1, limits::projection);
  check_positive(field + "scale", layer.scale);
  check_cap(field + "soft_cap", layer.soft_cap);
  check_size(field + "window", layer.window, 0, limits::context);
  if (store.window > 0 && (layer.window == 0 || layer.window > store.window)) {
    fail("{}window is {}, but the cache of layer {} keeps only {} tokens", field, layer.window, store.layer,
         store.window);
  }
  if ((layer.rotate_query || layer.rotate_on_read) && a.position.scheme != PositionScheme::rope) {
    fail("{}{} is true, but the position scheme is not rope", field,
         layer.rotate_query ? "rotate_query" : "rotate_on_read");
  }
  if (layer.rotate_on_read && store.keys_rotated) {
    fail("{}rotate_on_read is true, but layer {} stores rotated keys: they would be rotated twice", field, store.layer);
  }
  if (layer.shared_input_norm && layer.residual != Residual::parallel) {
    fail("{}shared_input_norm is true, but the residual is not parallel", field);
  }
  if (!layer.norm_before && !layer.norm_after) fail("{}norm_before and norm_after are both false", field);
  check_mlp(layer.mlp, field);
}

void check_position(const Architecture& a) {
  const Position& position = a.position;
  if (position.scheme == PositionScheme::rope) check_rope(position.rope, "position.rope.");
  check_size("position.learned_offset", position.learned_offset, 0, limits::context);
  const bool alibi = position.scheme == PositionScheme::alibi;
  if (!alibi && !position.alibi_slopes.empty()) fail("position.alibi_slopes are given, but the scheme is not alibi");
  if (!alibi && position.alibi_bf16) fail("position.alibi_bf16 is true, but the scheme is not alibi");
  if (!alibi && position.alibi_scale != 1) fail("position.alibi_scale is given, but the scheme is not alibi");
  for (const double slope : position.alibi_slopes) {
    if (!std::isfinite(slope)) fail("position.alibi_slopes must be finite, but one is {}", slope);
  }
  if (!alibi) return;
  check_positive("position.alibi_scale", position.alibi_scale);
  for (size_t i = 0; i < a.layers.size(); ++i) {
    const auto slopes = static_cast<int64_t>(position.alibi_slopes.size());
    if (slopes != a.layers[i].q_heads) {
      fail("position.alibi_slopes has {} entries, but layers[{}].q_heads is {}", slopes, i, a.layers[i].q_heads);
    }
  }
}

void check_ids(const Architecture& a) {
  const auto check = [&](const char* field, int32_t id) { check_size(field, id, 0, a.vocab_size - 1); };
  if (a.bos_id) check("bos_id", *a.bos_id);
  for (const int32_t id : a.eos_ids) check("eos_ids", id);
}

}  // namespace

int64_t KvStore::elements_per_token() const {
  switch (stored) {
    case Stored::keys_and_values:
      return kv_heads * (key_dim + value_dim);
    case Stored::values_only:
      return kv_heads * value_dim;
    case Stored::keys_only:
    case Stored::latent:
      break;
  }
  return kv_heads * key_dim;
}

int64_t KvStore::rope_offset() const { return stored == Stored::latent ? value_dim : 0; }

const KvStore& Architecture::store_of(int64_t layer) const {
  if (layer < 0 || layer >= layer_count()) fail("layer {} does not exist: the model has {}", layer, layer_count());
  const int64_t owner = layers[static_cast<size_t>(layer)].kv_owner;
  const auto found = std::lower_bound(kv_stores.begin(), kv_stores.end(), owner,
                                      [](const KvStore& store, int64_t wanted) { return store.layer < wanted; });
  if (found == kv_stores.end() || found->layer != owner)
    fail("layers[{}].kv_owner is {}, which has no store", layer, owner);
  return *found;
}

bool Architecture::rotated_on_read(const KvStore& store) const {
  return std::any_of(layers.begin(), layers.end(),
                     [&](const Layer& layer) { return layer.kv_owner == store.layer && layer.rotate_on_read; });
}

const Rope& Architecture::rope_of(int64_t layer) const {
  const Layer& settings = layers.at(static_cast<size_t>(layer));
  return settings.rope ? *settings.rope : position.rope;
}

void validate(const Architecture& a) {
  check_size("layers", a.layer_count(), 1, limits::layers);
  check_size("d_model", a.d_model, 1, limits::d_model);
  check_size("vocab_size", a.vocab_size, 1, limits::vocab);
  check_size("context", a.context, 1, limits::context);
  check_positive("norm_epsilon", a.norm_epsilon);
  check_positive("embedding_scale", a.embedding_scale);
  check_cap("logits_soft_cap", a.logits_soft_cap);
  check_ids(a);
  check_position(a);
  check_owners(a);
  for (size_t s = 0; s < a.kv_stores.size(); ++s) check_store(a, a.kv_stores[s], s);
  int64_t experts = 0;
  for (int64_t i = 0; i < a.layer_count(); ++i) {
    check_layer(a, i);
    experts += a.layers[static_cast<size_t>(i)].mlp.experts;
  }
  check_size("mlp.experts of all layers together", experts, 1, limits::all_experts);
}

}  // namespace headscope
