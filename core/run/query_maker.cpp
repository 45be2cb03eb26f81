#include "core/run/query_maker.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "core/model/torch_errors.h"

namespace headscope {
namespace {

/// The nearest layer at or below whose input is there.
int64_t start_of(const Past& past, int64_t layer) {
  while (layer > 0 && !past.inputs[static_cast<size_t>(layer)].buffer) --layer;
  return layer;
}

}  // namespace

QueryMaker::QueryMaker(std::shared_ptr<const Model> model, std::vector<Intervention> interventions, MlaOptions mla,
                       std::shared_ptr<MemoryLedger> ledger)
    : model_(std::move(model)), ledger_(std::move(ledger)), stack_(model_, std::move(interventions), mla) {}

RowsView QueryMaker::make(const RunSnapshot& run, const Past& past, int64_t layer, const std::stop_token& stop) {
  const std::lock_guard making(making_);
  if (auto there = made(layer, run.tokens())) return std::move(*there);  // by who had the lock before
  const c10::InferenceMode no_gradients;
  Made& mine = begin(run, layer);
  struct AtEnd {
    QueryMaker& maker;
    ~AtEnd() {
      const std::lock_guard lock(maker.mutex_);
      maker.in_work_ = nullptr;
    }
  } const at_end{*this};
  int64_t position = 0;
  for (const PastChunk& chunk : past.chunks) {
    if (chunk.end > mine.rows.rows()) {
      const at::Tensor queries =
          with_torch_errors([&] { return queries_of_chunk(run, past, layer, position, chunk, stop); });
      mine.rows.append_as_is(queries.const_data_ptr(), chunk.end - position);
      try {
        ledger_->device().wait();  // any stream may read them now
      } catch (...) {
        mine.rows.truncate(position);
        throw;
      }
      const std::lock_guard lock(mutex_);
      mine.view = mine.rows.view();
      mine.bytes = mine.rows.allocated_bytes();
    }
    position = chunk.end;
  }
  return {mine.view.buffer, run.tokens()};
}

at::Tensor QueryMaker::queries_of_chunk(const RunSnapshot& run, const Past& past, int64_t layer, int64_t position,
                                        const PastChunk& chunk, const std::stop_token& stop) {
  const int64_t start = start_of(past, layer), count = chunk.end - position;
  PastTokens tokens{run, position, count, start, {}};
  if (start > 0) {
    const InputRows saved = past.inputs[static_cast<size_t>(start)].input();
    tokens.input = tensor_of(saved.from(position), count, model_->weights().token_embedding.device());
  }
  stack_.fit_query_ropes(chunk.pass_end);
  return stack_.queries_again(tokens, layer, [&](int64_t) {
    if (stop.stop_requested()) throw Cancelled();
  });
}

/// What is there of the layer, first in the list; the others make room for it.
QueryMaker::Made& QueryMaker::begin(const RunSnapshot& run, int64_t layer) {
  std::list<Made> dropped;
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(made_.begin(), made_.end(), [&](const Made& one) { return one.layer == layer; });
  if (found != made_.end()) {
    made_.splice(made_.begin(), made_, found);
  } else {
    const KvStore& store = run.architecture->store_of(layer);
    const int64_t width = query_width(*run.architecture, layer);
    made_.push_front({layer,
                      {},
                      GrowingRows(ledger_, MemoryPurpose::viewer, width, run.tokens(), run.architecture->context,
                                  query_element(store, model_->cache_element())),
                      0});
  }
  Made& mine = made_.front();
  in_work_ = &mine;
  mine.bytes = mine.rows.capacity_with(run.tokens()) * mine.rows.row_bytes();
  dropped = drop_beyond_limit();
  return mine;
}

std::optional<RowsView> QueryMaker::made(int64_t layer, int64_t rows) const {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(made_.begin(), made_.end(), [&](const Made& one) { return one.layer == layer; });
  if (found == made_.end() || found->view.rows < rows) return std::nullopt;
  made_.splice(made_.begin(), made_, found);
  return RowsView{found->view.buffer, rows};
}

void QueryMaker::limit(int64_t bytes) {
  std::list<Made> dropped;
  const std::lock_guard lock(mutex_);
  limit_ = bytes;
  dropped = drop_beyond_limit();
}

/// The least recently used first, but neither what is in work nor the last one.
std::list<QueryMaker::Made> QueryMaker::drop_beyond_limit() {
  std::list<Made> dropped;
  int64_t sum = 0;
  for (const Made& one : made_) sum += one.bytes;
  for (auto at = made_.end(); at != made_.begin() && sum > limit_ && made_.size() > 1;) {
    --at;
    if (&*at == in_work_) continue;
    sum -= at->bytes;
    const auto next = std::next(at);
    dropped.splice(dropped.end(), made_, at);
    at = next;
  }
  return dropped;
}

}  // namespace headscope
