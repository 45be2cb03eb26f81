#include <algorithm>
#include <cstring>

#include <ATen/ATen.h>

#include "core/run/experts.h"
#include "core/run/layers.h"
#include "core/run/mla.h"
#include "core/run/run_state.h"

namespace headscope {
namespace {

at::Tensor id_tensor(std::span<const int32_t> ids) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(ids.size())}, at::kLong);
  std::copy(ids.begin(), ids.end(), tensor.data_ptr<int64_t>());
  return tensor;
}

/// Copies a [tokens, width] tensor into prepared rows and returns them.
float* store(GrowingRows& rows, const at::Tensor& values) {
  const at::Tensor contiguous = values.contiguous();
  float* target = rows.prepare(contiguous.size(0));
  std::memcpy(target, contiguous.data_ptr<float>(), contiguous.nbytes());
  return target;
}

}  // namespace

void Run::State::write_cache(int64_t layer, const at::Tensor& x) {
  const Layer& settings = architecture->layers[static_cast<size_t>(layer)];
  const LayerWeights& weights = model->weights().layers[static_cast<size_t>(layer)];
  const KvStore& shape = architecture->store_of(layer);
  KvCache::Store& kv = cache.store_of(layer);
  if (shape.stored != Stored::values_only) {
    const at::Tensor made = settings.mla ? mla_rows(*settings.mla, shape, weights, x)
                                         : apply_qk_norm(settings.qk_norm, weights.key_norm,
                                                         apply_linear(weights.key, x), architecture->norm_epsilon);
    float* keys = store(kv.k, made);
    if (shape.keys_rotated) {
      ropes[static_cast<size_t>(layer)].rotate(keys, x.size(0), shape.kv_heads, shape.key_dim, position(), workers);
    }
    kv.k.publish(x.size(0));
  }
  if (shape.stored == Stored::latent || shape.stored == Stored::keys_only) return;
  store(kv.v, apply_linear(weights.value, x));
  kv.v.publish(x.size(0));
}

/// Writes the queries of a layer, as they score, into its record, where they count once they are published.
float* Run::State::write_queries(int64_t layer, const at::Tensor& x) {
  const Layer& settings = architecture->layers[static_cast<size_t>(layer)];
  const LayerWeights& weights = model->weights().layers[static_cast<size_t>(layer)];
  const KvStore& shape = architecture->store_of(layer);
  const at::Tensor made = settings.mla ? mla_queries(settings, shape, weights, x)
                                       : apply_qk_norm(settings.qk_norm, weights.query_norm,
                                                       apply_linear(weights.query, x), architecture->norm_epsilon);
  float* q = store(records[static_cast<size_t>(layer)].q, made);
  if (settings.rotate_query) {
    ropes[static_cast<size_t>(layer)].rotate(q, x.size(0), settings.q_heads, shape.key_dim, position(), workers);
  }
  return q;
}

/// Slim attention: values [n, kv_heads * value_dim] of all keys in the cache, made by their owner's weights; undefined
/// in other layers.
at::Tensor Run::State::rebuilt_values(int64_t layer, const RowsView& keys) const {
  if (architecture->store_of(layer).stored != Stored::keys_only) return {};
  const int64_t owner = architecture->layers[static_cast<size_t>(layer)].kv_owner;
  const at::Tensor rows = at::from_blob(const_cast<float*>(keys.row(0)), {keys.rows, keys.width()});  // only read
  return apply_linear(model->weights().layers[static_cast<size_t>(owner)].value, rows);
}

at::Tensor Run::State::attention(int64_t layer, const at::Tensor& x) {
  const Layer& settings = architecture->layers[static_cast<size_t>(layer)];
  const LayerWeights& weights = model->weights().layers[static_cast<size_t>(layer)];
  const KvStore& shape = architecture->store_of(layer);
  LayerRecord& record = records[static_cast<size_t>(layer)];
  const int64_t tokens = x.size(0);
  if (architecture->owns_cache(layer)) write_cache(layer, x);
  const float* q = write_queries(layer, x);
  at::Tensor output = at::empty({tokens, settings.q_heads, shape.value_dim}, at::kFloat);
  const KvRows kv = cache.store_of(layer).rows();
  const ReadKeys keys(*architecture, layer, kv.k.row(0), position() + tokens, 0, workers);
  const at::Tensor rebuilt = rebuilt_values(layer, kv.k);
  Rows<const float> values = {kv.v.row(0), 0, shape.value_dim, kv.v.width()};
  if (rebuilt.defined()) values = {rebuilt.const_data_ptr<float>(), 0, shape.value_dim, rebuilt.size(1)};
  kernels.emplace(attend(*architecture, layer, position(), tokens, q, keys.data(), values, record,
                         output.data_ptr<float>(), workers));
  record.q.publish(tokens);
  intervene(layer, output);
  return apply_linear(weights.output, settings.mla ? mla_values(settings, weights, output) : output.flatten(1));
}

void Run::State::intervene(int64_t layer, at::Tensor& heads_output) const {
  for (const Intervention& change : options.interventions) {
    if (change.layer == layer) heads_output.select(1, change.head).zero_();
  }
}

void Run::State::take_logits(const at::Tensor& x) {
  const int64_t first = position(), tokens = x.size(0);
  const int64_t begin = std::max(options.logits.begin, first), end = std::min(options.logits.end, first + tokens);
  constexpr int64_t block = 256;  // bounds the memory of logits on their way
  for (int64_t row = begin; row < end; row += block) {
    const int64_t count = std::min(block, end - row);
    store(kept_logits, compute_logits(*architecture, model->weights(), x.narrow(0, row - first, count)));
    kept_logits.publish(count);
  }
  const at::Tensor last = compute_logits(*architecture, model->weights(), x.narrow(0, tokens - 1, 1)).contiguous();
  last_logits.assign(last.data_ptr<float>(), last.data_ptr<float>() + architecture->vocab_size);
}

void Run::State::forward(std::span<const int32_t> chunk, const Progress& progress, double done, double total) {
  const Weights& weights = model->weights();
  const double layers = static_cast<double>(architecture->layer_count());
  at::Tensor x = embed(*architecture, weights, id_tensor(chunk), position());
  for (int64_t index = 0; index < architecture->layer_count(); ++index) {
    progress.step("running", (done + static_cast<double>(chunk.size()) * static_cast<double>(index) / layers) / total);
    const Layer& layer = architecture->layers[static_cast<size_t>(index)];
    const LayerWeights& w = weights.layers[static_cast<size_t>(index)];
    const auto before = [&](const NormWeights& norm) {
      return layer.norm_before ? apply_norm(*architecture, norm, x) : x;
    };
    const auto mlp = [&](const at::Tensor& y) {
      return layer.mlp.experts > 1 ? apply_experts(layer.mlp, w, y) : apply_mlp(layer.mlp, w.mlp, y);
    };
    const auto after = [&](const NormWeights& norm, const at::Tensor& y) {
      return layer.norm_after ? apply_norm(*architecture, norm, y) : y;
    };
    const at::Tensor normed = before(w.attention_norm);
    const at::Tensor attended = after(w.attention_post_norm, attention(index, normed));
    if (layer.residual == Residual::parallel) {
      const at::Tensor input = layer.shared_input_norm ? normed : before(w.mlp_norm);
      x = x + attended + after(w.mlp_post_norm, mlp(input));
    } else {
      x = x + attended;
      x = x + after(w.mlp_post_norm, mlp(before(w.mlp_norm)));
    }
  }
  take_logits(x);
}

}  // namespace headscope
