#include "core/run/run.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <set>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/data/rope_table.h"
#include "core/model/supported.h"
#include "core/model/torch_errors.h"
#include "core/run/attention_step.h"
#include "core/run/experts.h"
#include "core/run/kv_cache.h"
#include "core/run/layers.h"
#include "core/run/mla.h"

namespace headscope {
namespace {

/// LibTorch's own threads, so that attention and linear layers share one team.
class TorchWorkers final : public ParallelFor {
 public:
  int workers() const override { return at::get_num_threads(); }
  void run(int64_t tasks, const std::function<void(int64_t, int)>& body) const override {
    std::atomic<int64_t> next{0};
    at::parallel_for(0, workers(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t worker = begin; worker < end; ++worker) {
        for (int64_t task = next++; task < tasks; task = next++) body(task, static_cast<int>(worker));
      }
    });
  }
};

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

std::string Intervention::text() const { return fmt::format("zero {}:{}", layer, head); }

struct Run::State {
  State(std::shared_ptr<const Model> loaded, RunOptions wanted)
      : model(std::move(loaded)),
        options(std::move(wanted)),
        architecture(model->architecture()),
        ledger(std::make_shared<MemoryLedger>()),
        cache(*architecture, ledger, first_capacity()) {
    for (int64_t layer = 0; layer < architecture->layer_count(); ++layer) {
      records.push_back(make_record(layer));
      ropes.emplace_back(*architecture, layer);
    }
    if (options.logits.begin < options.logits.end) {
      const int64_t rows = std::min(options.logits.end, options.expected_tokens) - options.logits.begin;
      kept_logits = GrowingRows(ledger, MemoryPurpose::viewer, architecture->vocab_size, std::max<int64_t>(1, rows));
    }
  }

  int64_t first_capacity() const {
    return std::min(architecture->context, std::max<int64_t>(16, options.expected_tokens));
  }

  LayerRecord make_record(int64_t layer) const {
    const int64_t heads = architecture->layers[static_cast<size_t>(layer)].q_heads;
    const auto rows = [&](int64_t width) {
      return GrowingRows(ledger, MemoryPurpose::viewer, width, first_capacity());
    };
    const int64_t cells = options.thumbnail_cells;
    auto grid = std::make_shared<ThumbnailGrid>();
    grid->cells = cells;
    grid->bin = ThumbnailGrid::smallest_bin(options.expected_tokens, cells);
    grid->max.assign(static_cast<size_t>(heads * cells * cells), 0.0f);
    return {rows(heads * architecture->store_of(layer).key_dim), rows(heads), rows(heads),
            rows(statistic_count * heads), std::move(grid)};
  }

  void check_ids(std::span<const int32_t> new_ids) const;
  void fit_ropes(int64_t tokens);
  void append(std::span<const int32_t> chunk, const Progress&, double done, double total);
  void forward(std::span<const int32_t> chunk, const Progress&, double done, double total);
  at::Tensor attention(int64_t layer, const at::Tensor& x);
  void write_cache(int64_t layer, const at::Tensor& x);
  float* write_queries(int64_t layer, const at::Tensor& x);
  void intervene(int64_t layer, at::Tensor& heads_output) const;
  void take_logits(const at::Tensor& x);

  int64_t position() const { return static_cast<int64_t>(ids.size()); }

  std::shared_ptr<const Model> model;
  RunOptions options;
  std::shared_ptr<const Architecture> architecture;
  std::shared_ptr<MemoryLedger> ledger;
  KvCache cache;
  std::vector<RopeTable> ropes;  ///< [layers]
  TorchWorkers workers;
  std::vector<LayerRecord> records;
  std::vector<int32_t> ids;
  std::vector<std::string> pieces;  ///< their texts; empty without a tokenizer
  std::optional<int64_t> prompt_tokens;
  std::vector<int64_t> allocated_history;
  std::vector<float> last_logits;
  GrowingRows kept_logits;
  std::set<std::string, std::less<>> kernels;
};

void Run::State::check_ids(std::span<const int32_t> new_ids) const {
  const auto total = position() + static_cast<int64_t>(new_ids.size());
  if (total > architecture->context) {
    fail(
        "{} tokens are more than the context of {} that {} has; shorten the prompt, keep its first tokens with --cut, "
        "or generate fewer tokens",
        total, architecture->context, quoted(model->name()));
  }
  for (const int32_t id : new_ids) {
    if (id < 0 || id >= architecture->vocab_size) {
      fail("token id {} is outside the vocabulary of {}, which has ids 0 to {}", id, quoted(model->name()),
           architecture->vocab_size - 1);
    }
  }
}

/// Dynamic scaling goes by the end of the whole pass, so that its chunks make no difference.
void Run::State::fit_ropes(int64_t tokens) {
  if (architecture->position.scheme != PositionScheme::rope) return;
  for (int64_t layer = 0; layer < architecture->layer_count(); ++layer) {
    if (architecture->rope_of(layer).scaling.kind != RopeScaling::Kind::dynamic) continue;
    ropes[static_cast<size_t>(layer)] = RopeTable(*architecture, layer, tokens);
  }
}

void Run::State::write_cache(int64_t layer, const at::Tensor& x) {
  const Layer& settings = architecture->layers[static_cast<size_t>(layer)];
  const LayerWeights& weights = model->weights().layers[static_cast<size_t>(layer)];
  const KvStore& shape = architecture->store_of(layer);
  KvCache::Store& kv = cache.store_of(layer);
  const at::Tensor made = settings.mla ? mla_rows(*settings.mla, shape, weights, x)
                                       : apply_qk_norm(settings.qk_norm, weights.key_norm, apply_linear(weights.key, x),
                                                       architecture->norm_epsilon);
  float* keys = store(kv.k, made);
  if (shape.keys_rotated) {
    ropes[static_cast<size_t>(layer)].rotate(keys, x.size(0), shape.kv_heads, shape.key_dim, position(), workers);
  }
  kv.k.publish(x.size(0));
  if (settings.mla) return;
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
  kernels.emplace(attend(*architecture, layer, position(), tokens, q, keys.data(), kv.v, record,
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

/// Forwards one chunk; when that fails or is cancelled, takes back every row it wrote.
void Run::State::append(std::span<const int32_t> chunk, const Progress& progress, double done, double total) {
  std::vector<std::shared_ptr<ThumbnailGrid>> thumbnails;
  for (const LayerRecord& record : records) thumbnails.push_back(record.thumbnails);
  const int64_t logit_rows = kept_logits.rows();
  try {
    forward(chunk, progress, done, total);
  } catch (...) {
    cache.truncate(position());
    kept_logits.truncate(logit_rows);
    for (size_t layer = 0; layer < records.size(); ++layer) {
      records[layer].truncate(position());
      records[layer].thumbnails = thumbnails[layer];
    }
    throw;
  }
  ids.insert(ids.end(), chunk.begin(), chunk.end());
  if (model->has_tokenizer()) {
    for (std::string& piece : model->tokenizer().pieces(chunk)) pieces.push_back(std::move(piece));
  }
  allocated_history.resize(ids.size(), cache.allocated_bytes());
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

Run::Run(std::shared_ptr<const Model> model, RunOptions options) {
  const Architecture& architecture = *model->architecture();
  for (const Intervention& change : options.interventions) {
    const bool layer_exists = change.layer >= 0 && change.layer < architecture.layer_count();
    if (!layer_exists || change.head < 0 ||
        change.head >= architecture.layers[static_cast<size_t>(change.layer)].q_heads) {
      fail("{} names a head that {} does not have: it has {} layers of {} query heads, counted from 0", change.text(),
           quoted(model->name()), architecture.layer_count(), architecture.layers.front().q_heads);
    }
  }
  options.expected_tokens = std::clamp<int64_t>(options.expected_tokens, 0, architecture.context);
  state_ = std::make_unique<State>(std::move(model), std::move(options));
}

Run::~Run() = default;

void use_threads(int threads) {
  if (threads > 0) at::set_num_threads(threads);
}

void Run::check(std::span<const int32_t> new_ids) const { state_->check_ids(new_ids); }

void Run::extend(std::span<const int32_t> new_ids, const Progress& progress) {
  const c10::InferenceMode no_gradients;
  State& state = *state_;
  if (new_ids.empty()) return;
  state.check_ids(new_ids);
  state.fit_ropes(state.position() + static_cast<int64_t>(new_ids.size()));
  const auto total = static_cast<double>(new_ids.size());
  for (size_t begin = 0; begin < new_ids.size();) {
    const auto count = std::min(static_cast<size_t>(state.options.chunk), new_ids.size() - begin);
    with_torch_errors(
        [&] { state.append(new_ids.subspan(begin, count), progress, static_cast<double>(begin), total); });
    begin += count;
  }
}

void Run::end_prompt() { state_->prompt_tokens = tokens(); }

int64_t Run::tokens() const { return state_->position(); }

int64_t Run::prompt_tokens() const { return state_->prompt_tokens.value_or(tokens()); }

const RunOptions& Run::options() const { return state_->options; }

std::span<const float> Run::last_logits() const { return state_->last_logits; }

RowsView Run::logits() const { return state_->kept_logits.view(); }

const Model& Run::model() const { return *state_->model; }

RunSnapshot Run::snapshot() const {
  const State& state = *state_;
  RunSnapshot snapshot;
  snapshot.architecture = state.architecture;
  snapshot.model = state.model->name();
  snapshot.version = HEADSCOPE_VERSION;
  snapshot.device = "cpu";
  snapshot.dtype = state.model->dtype() == DType::bf16 ? "bf16" : "f32";
  snapshot.kernel = listed(state.kernels);
  snapshot.revision = static_cast<uint64_t>(state.position());
  snapshot.ids = state.ids;
  snapshot.pieces = state.pieces;
  snapshot.prompt_tokens = prompt_tokens();
  snapshot.threads = at::get_num_threads();
  for (const LayerRecord& record : state.records) {
    snapshot.layers.push_back(
        {record.q.view(), record.row_max.view(), record.log_sum.view(), record.statistics.view(), record.thumbnails});
  }
  snapshot.stores = state.cache.rows();
  for (const Intervention& change : state.options.interventions) snapshot.interventions.push_back(change.text());
  snapshot.allocated_history = state.allocated_history;
  snapshot.viewer_bytes = state.ledger->bytes(MemoryPurpose::viewer);
  for (const LayerRecord& record : state.records) {
    snapshot.viewer_bytes += static_cast<int64_t>(record.thumbnails->max.size() * sizeof(float));
  }
  snapshot.kv_peak_bytes = state.ledger->peak_bytes(MemoryPurpose::kv);
  return snapshot;
}

}  // namespace headscope
