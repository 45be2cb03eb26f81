#include <algorithm>
#include <cstring>

#include <ATen/ATen.h>

#include "core/model/torch_errors.h"
#include "core/run/layers.h"
#include "core/run/run_state.h"

namespace headscope {

std::string Intervention::text() const { return fmt::format("zero {}:{}", layer, head); }

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

/// And what else is kept of the layers.
void Run::State::add_queries(RunSnapshot& snapshot) {
  Past past;
  for (LayerRecord& record : records) {
    const auto layer = static_cast<int64_t>(snapshot.layers.size());
    past.inputs.push_back(record.input ? record.input->view() : RowsView());
    snapshot.layers.push_back({record.q ? record.q->view() : RowsView(), record.row_max.view(), record.log_sum.view(),
                               record.statistics.view(), record.thumbnails, layers.key_angles(layer)});
    record.grid_is_lent = true;
  }
  if (!query_maker || budget.plan().keeps_everything()) return;
  past.chunks = chunks;
  snapshot.query_source = std::make_shared<SnapshotQueries>(query_maker, std::move(past));
}

void Run::State::take_logits(const at::Tensor& x) {
  const int64_t first = position(), tokens = x.size(0);
  const int64_t begin = std::max(options.logits.begin, first), end = std::min(options.logits.end, first + tokens);
  constexpr int64_t block = 256;  // bounds the memory of logits on their way
  for (int64_t row = begin; row < end; row += block) {
    const int64_t count = std::min(block, end - row);
    kept_logits.append(logits_of(x.narrow(0, row - first, count)).cpu().contiguous().const_data_ptr<float>(), count);
  }
  set_last_logits(logits_of(x.narrow(0, tokens - 1, 1)).cpu().contiguous().const_data_ptr<float>());
}

void Run::State::decode_one(int32_t id, const NextTokens& next) {
  const bool kept = next.position >= options.logits.begin && next.position < options.logits.end;
  if (kept) kept_logits.prepare(1);  // this may fail; what follows the step may not
  last_logits.reserve(static_cast<size_t>(architecture->vocab_size));
  const at::Tensor logits = decode.run({&id, 1}, {&next, 1}).contiguous();
  const auto* numbers = logits.const_data_ptr<float>();
  if (kept) kept_logits.append(numbers, 1);
  set_last_logits(numbers);
}

void Run::State::forward(std::span<const int32_t> chunk, const NextTokens& next, const Progress& progress, double done,
                         double total) {
  const auto layer_count = static_cast<double>(architecture->layer_count());
  take_logits(layers.forward(chunk, {&next, 1}, [&](int64_t layer) {
    const double part = static_cast<double>(layer) / layer_count;
    progress.step("running", (done + static_cast<double>(next.count) * part) / total);
  }));
}

/// Forwards one chunk; when that fails or is cancelled, takes back every row it wrote.
void Run::State::append(std::span<const int32_t> chunk, const Progress& progress, double done, double total) {
  const NextTokens next{&cache, &records, position(), static_cast<int64_t>(chunk.size())};
  const bool decodes = next.count == 1 && decode.serves({&next, 1});
  // A decode step changes thumbnails when nothing can fail any more. The others make copies: these are the old ones.
  std::vector<std::shared_ptr<ThumbnailGrid>> thumbnails;
  for (const LayerRecord& record : records) thumbnails.push_back(decodes ? nullptr : record.thumbnails);
  const int64_t logit_rows = kept_logits.rows();
  budget.make_room(records, position() + static_cast<int64_t>(chunk.size()));
  if (query_maker) query_maker->limit(budget.left_bytes());
  try {
    if (decodes) {
      progress.step("running", done / total);
      decode_one(chunk.front(), next);
    } else {
      forward(chunk, next, progress, done, total);
    }
  } catch (...) {
    cache.truncate(position());
    kept_logits.truncate(logit_rows);
    for (size_t layer = 0; layer < records.size(); ++layer) {
      records[layer].truncate(position());
      if (!thumbnails[layer]) continue;
      records[layer].thumbnails = thumbnails[layer];
      records[layer].grid_is_lent = true;  // perhaps
    }
    throw;
  }
  ids.insert(ids.end(), chunk.begin(), chunk.end());
  chunks.push_back({position(), pass_end});
  if (model->has_tokenizer()) {
    for (std::string& piece : model->tokenizer().pieces(chunk)) pieces.push_back(std::move(piece));
  }
  allocated_history.resize(ids.size(), cache.allocated_bytes());
}

namespace {

bool has_latents(const Architecture& architecture) {
  return std::any_of(architecture.layers.begin(), architecture.layers.end(),
                     [](const Layer& layer) { return layer.mla.has_value(); });
}

}  // namespace

Run::Run(std::shared_ptr<const Model> model, RunOptions options) {
  const Architecture& architecture = *model->architecture();
  if (options.mla.form == MlaForm::naive && !has_latents(architecture)) {
    fail("naive MLA changes nothing for {}: no layer has latents", quoted(model->name()));
  }
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
Run::Run(Run&&) noexcept = default;

void use_threads(int threads) {
  if (threads > 0) at::set_num_threads(threads);
}

void Run::check(std::span<const int32_t> new_ids) const { state_->check_ids(new_ids); }

void Run::extend(std::span<const int32_t> new_ids, const Progress& progress) {
  const c10::InferenceMode no_gradients;
  State& state = *state_;
  if (new_ids.empty()) return;
  state.check_ids(new_ids);
  state.pass_end = state.position() + static_cast<int64_t>(new_ids.size());
  state.layers.fit_ropes(state.pass_end);
  const auto total = static_cast<double>(new_ids.size());
  for (size_t begin = 0; begin < new_ids.size();) {
    const auto count = std::min(static_cast<size_t>(state.at_once()), new_ids.size() - begin);
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
  State& state = *state_;
  // Rows are written on the default stream, for which other streams do not wait. Logits that were fetched say that it
  // is idle, but for a pass that was stopped, where rows may still be on their way into a larger buffer.
  state.model->device()->wait();
  RunSnapshot snapshot;
  snapshot.architecture = state.architecture;
  snapshot.model = state.model->name();
  snapshot.version = HEADSCOPE_VERSION;
  snapshot.device = state.model->device()->name();
  snapshot.dtype = state.model->dtype() == DType::bf16 ? "bf16" : "f32";
  snapshot.element = state.model->cache_element();
  snapshot.kernel = listed(state.layers.kernels());
  snapshot.linear = state.model->linear_kernel();
  if (has_latents(*state.architecture)) {
    snapshot.mla = state.options.mla.form == MlaForm::naive ? "naive" : "absorbed";
  }
  snapshot.revision = static_cast<uint64_t>(state.position());
  snapshot.ids = state.ids;
  snapshot.pieces = state.pieces;
  snapshot.prompt_tokens = prompt_tokens();
  snapshot.threads = at::get_num_threads();
  state.add_queries(snapshot);
  snapshot.stores = state.cache.rows();
  for (const Intervention& change : state.options.interventions) snapshot.interventions.push_back(change.text());
  snapshot.allocated_history = state.allocated_history;
  snapshot.viewer_bytes = state.ledger->bytes(MemoryPurpose::viewer) + state.host_ledger->bytes(MemoryPurpose::viewer);
  for (const LayerRecord& record : state.records) {
    snapshot.viewer_bytes += static_cast<int64_t>(record.thumbnails->max.size() * sizeof(float));
  }
  snapshot.viewer_peak_bytes = state.ledger->peak_bytes(MemoryPurpose::viewer);
  snapshot.kv_peak_bytes = state.ledger->peak_bytes(MemoryPurpose::kv);
  return snapshot;
}

}  // namespace headscope
