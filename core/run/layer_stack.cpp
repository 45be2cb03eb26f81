#include "core/run/layer_stack.h"

#include <algorithm>
#include <cstring>

#include <ATen/ATen.h>

#include "core/data/layer_problem.h"
#include "core/run/layers.h"
#include "core/run/mla.h"
#include "core/run/mla_attention.h"
#include "core/run/rotate.h"
#include "core/run/through_layers.h"

namespace headscope {
namespace {

at::Tensor id_tensor(std::span<const int32_t> ids) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(ids.size())}, at::kLong);
  std::copy(ids.begin(), ids.end(), tensor.data_ptr<int64_t>());
  return tensor;
}

/// Keeps the input of a layer where a record wants it.
void save_input(int64_t layer, const at::Tensor& x, std::span<const NextTokens> sequences) {
  const float* rows = x.const_data_ptr<float>();
  for (const NextTokens& next : sequences) {
    LayerRecord* record = next.records != nullptr ? &(*next.records)[static_cast<size_t>(layer)] : nullptr;
    if (record != nullptr && record->input) record->input->append_as_is(rows, next.count);
    rows += next.count * x.size(1);
  }
}

}  // namespace

LayerStack::LayerStack(std::shared_ptr<const Model> model, std::vector<Intervention> interventions, MlaOptions mla)
    : model_(std::move(model)),
      device_(model_->device()),
      architecture_(model_->architecture()),
      interventions_(std::move(interventions)),
      mla_(mla) {
  for (int64_t layer = 0; layer < architecture_->layer_count(); ++layer) ropes_.emplace_back(*architecture_, layer);
  key_angles_.resize(ropes_.size());
}

void LayerStack::fit_query_ropes(int64_t tokens) {
  if (architecture_->position.scheme != PositionScheme::rope) return;
  for (int64_t layer = 0; layer < architecture_->layer_count(); ++layer) {
    if (architecture_->rope_of(layer).scaling.kind == RopeScaling::Kind::dynamic) {
      ropes_[static_cast<size_t>(layer)] = RopeTable(*architecture_, layer, tokens);
    }
  }
}

void LayerStack::fit_ropes(int64_t tokens) {
  fit_query_ropes(tokens);
  if (architecture_->position.scheme != PositionScheme::rope) return;
  for (int64_t layer = 0; layer < architecture_->layer_count(); ++layer) {
    if (architecture_->layers[static_cast<size_t>(layer)].rotate_on_read) fit_key_angles(layer, tokens);
  }
}

/// A table that is too short is made anew, half as long again as it was, so that a token costs as much as in a prompt.
void LayerStack::fit_key_angles(int64_t layer, int64_t tokens) {
  const auto mine = static_cast<size_t>(layer);
  const auto room = [&](size_t at) { return key_angles_[at] ? key_angles_[at]->positions() : 0; };
  if (room(mine) >= tokens) return;
  for (size_t other = 0; other < mine; ++other) {
    if (room(other) < tokens || !(ropes_[other] == ropes_[mine])) continue;
    key_angles_[mine] = key_angles_[other];
    return;
  }
  const int64_t wanted = std::min(architecture_->context, std::max(tokens, room(mine) * 3 / 2));
  key_angles_[mine] = std::make_shared<KeyAngles>(ropes_[mine], wanted, workers_, device_);
}

void LayerStack::rotate(int64_t layer, const at::Tensor& rows, int64_t heads, int64_t position) const {
  rotate_rows(ropes_[static_cast<size_t>(layer)], rows, heads, position, !device_->is_host(), workers_);
}

/// Rows of f32, which go to a cache of any type.
void LayerStack::append(CacheRows& cache, const at::Tensor& rows) const {
  if (device_->is_host()) return cache.append(rows.const_data_ptr<float>(), rows.size(0));
  cache.append_as_is(as_element(rows, model_->cache_element()).const_data_ptr(), rows.size(0));
}

void LayerStack::write_cache(int64_t layer, const Projections& made, const NextTokens& next) {
  const KvStore& shape = architecture_->store_of(layer);
  KvCache::Store& store = next.cache->store_of(layer);
  if (made.keys.defined()) {
    if (shape.keys_rotated) rotate(layer, made.keys, shape.kv_heads, next.position);
    append(store.k, made.keys);
  }
  if (made.values.defined()) append(store.v, made.values);
}

bool LayerStack::expands(int64_t layer, std::span<const NextTokens> sequences) const {
  const Layer& settings = architecture_->layers[static_cast<size_t>(layer)];
  if (!settings.mla || mla_.form == MlaForm::absorbed) return false;
  if (mla_.form == MlaForm::naive) return true;
  LatentWork work;
  for (const NextTokens& next : sequences) work.add(next.position, next.count, settings.window);
  return expanding_is_less(*settings.mla, architecture_->store_of(layer), work);
}

ReadCache LayerStack::read_cache(int64_t layer, const NextTokens& next) const {
  const auto of = [&](const CachedRows& rows, const KeyAngles* angles) {
    return ReadCache(*architecture_, model_->weights(), layer, rows, next.position, next.position + next.count, angles);
  };
  if (next.past == nullptr) return of(CachedRows(next.cache->store_of(layer)), key_angles(layer).get());
  return of(CachedRows(next.past->store_of(layer)), next.past->layers[static_cast<size_t>(layer)].key_angles.get());
}

at::Tensor LayerStack::as_kept(int64_t layer, const at::Tensor& queries) const {
  return as_element(queries, query_element(architecture_->store_of(layer), model_->cache_element()));
}

/// Attention of one sequence; writes O [count, q_heads, value dimension].
void LayerStack::attend_one(int64_t layer, const Projections& made, const NextTokens& next, bool expanded, float* out) {
  const Layer& settings = architecture_->layers[static_cast<size_t>(layer)];
  const LayerWeights& weights = model_->weights().layers[static_cast<size_t>(layer)];
  const KvStore& shape = architecture_->store_of(layer);
  if (settings.rotate_query) rotate(layer, made.queries, settings.q_heads, next.position);
  AttentionProblem problem = layer_problem(*architecture_, layer);
  problem.q_len = next.count;
  problem.kv_len = next.position + next.count;
  problem.causal_offset = next.position;
  const ReadCache read = read_cache(layer, next);
  read.add_to(problem);
  LayerRecord* record = next.records != nullptr ? &(*next.records)[static_cast<size_t>(layer)] : nullptr;
  const at::Tensor queries = as_kept(layer, made.queries);
  AttentionStep step(*device_, settings.q_heads, next.count, problem.kv_len, out, record);
  if (expanded) {
    const at::Tensor by_head = mla_expanded_queries(settings, shape, made.query_heads, made.queries);
    kernels_.emplace(attend_expanded({*device_, *architecture_, weights, layer, problem, by_head, mla_.expanded_bytes},
                                     step, workers_));
  } else {
    problem.q = rows_of(queries.const_data_ptr(), problem.q_heads, problem.key_dim, element_of(queries));
    const PositionBias bias(*architecture_, 0, problem.q_heads, problem.kv_len, *device_);
    bias.add_to(problem);
    kernels_.emplace(step.run(problem, 0, workers_));
  }
  step.store();
  if (record != nullptr && record->q) record->q->append_as_is(queries.const_data_ptr(), next.count);
}

at::Tensor LayerStack::attention(int64_t layer, const at::Tensor& x, std::span<const NextTokens> sequences) {
  const Layer& settings = architecture_->layers[static_cast<size_t>(layer)];
  const bool again = sequences.front().past != nullptr;
  const Projections made = (again ? project_queries : project)(*architecture_, model_->weights(), layer, x);
  const bool expanded = expands(layer, sequences);
  const int64_t value_dim = expanded ? settings.mla->value_dim : architecture_->store_of(layer).value_dim;
  at::Tensor output = at::empty({x.size(0), settings.q_heads, value_dim}, x.options());
  int64_t row = 0;
  for (const NextTokens& next : sequences) {
    const Projections mine = made.of(row, next.count);
    if (architecture_->owns_cache(layer) && !again) write_cache(layer, mine, next);
    attend_one(layer, mine, next, expanded, output.data_ptr<float>() + row * settings.q_heads * value_dim);
    row += next.count;
  }
  intervene(layer, output);
  return project_output(*architecture_, model_->weights(), layer, output, settings.mla && !expanded);
}

void LayerStack::intervene(int64_t layer, at::Tensor& heads_output) const {
  for (const Intervention& change : interventions_) {
    if (change.layer == layer) heads_output.select(1, change.head).zero_();
  }
}

at::Tensor LayerStack::embed_all(std::span<const int32_t> ids, std::span<const NextTokens> sequences) const {
  std::vector<at::Tensor> parts;
  size_t row = 0;
  for (const NextTokens& next : sequences) {
    const auto mine = ids.subspan(row, static_cast<size_t>(next.count));
    const at::Tensor there = id_tensor(mine).to(model_->weights().token_embedding.device());
    at::Tensor positions;
    if (architecture_->position.scheme == PositionScheme::learned) {
      const int64_t first_row = next.position + architecture_->position.learned_offset;
      positions = model_->weights().position_embedding.narrow(0, first_row, next.count);
    }
    parts.push_back(embed(*architecture_, model_->weights(), there, positions));
    row += mine.size();
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

at::Tensor LayerStack::forward(std::span<const int32_t> ids, std::span<const NextTokens> sequences,
                               const std::function<void(int64_t layer)>& on_layer) {
  const auto attend = [&](int64_t layer, const at::Tensor& x) { return attention(layer, x, sequences); };
  const auto before = [&](int64_t layer, const at::Tensor& x) {
    on_layer(layer);
    save_input(layer, x, sequences);
  };
  return through_layers(*architecture_, model_->weights(), 0, architecture_->layer_count(), embed_all(ids, sequences),
                        attend, before);
}

at::Tensor LayerStack::queries_again(const PastTokens& past, int64_t layer,
                                     const std::function<void(int64_t layer)>& on_layer) {
  const NextTokens next{nullptr, nullptr, past.position, past.count, &past.run};
  const std::span sequences(&next, 1);
  at::Tensor x = past.input;
  if (past.start == 0) {
    const std::span<const int32_t> ids(past.run.ids);
    x = embed_all(ids.subspan(static_cast<size_t>(past.position), static_cast<size_t>(past.count)), sequences);
  }
  const auto attend = [&](int64_t at, const at::Tensor& normed) { return attention(at, normed, sequences); };
  const auto before = [&](int64_t at, const at::Tensor&) { on_layer(at); };
  x = through_layers(*architecture_, model_->weights(), past.start, layer, x, attend, before);
  on_layer(layer);
  const at::Tensor normed = attention_input(*architecture_, model_->weights(), layer, x);
  const Projections made = project_queries(*architecture_, model_->weights(), layer, normed);
  const Layer& settings = architecture_->layers[static_cast<size_t>(layer)];
  if (settings.rotate_query) rotate(layer, made.queries, settings.q_heads, past.position);
  return as_kept(layer, made.queries);
}

}  // namespace headscope
