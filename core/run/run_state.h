#pragma once

#include <string>
#include <vector>

#include "core/run/decode_step.h"
#include "core/run/layers.h"
#include "core/run/query_budget.h"
#include "core/run/query_maker.h"

namespace headscope {

/// What a run holds.
struct Run::State {
  State(std::shared_ptr<const Model> loaded, RunOptions wanted)
      : model(std::move(loaded)),
        options(std::move(wanted)),
        architecture(model->architecture()),
        ledger(std::make_shared<MemoryLedger>(model->device())),
        host_ledger(std::make_shared<MemoryLedger>(model->device()->is_host() ? model->device() : host())),
        cache(*architecture, ledger, cache_options()),
        layers(model, options.interventions, options.mla),
        decode(model, layers, [this](const at::Tensor& x) { return logits_of(x); }),
        budget(architecture, model->cache_element(), ledger, budget_bytes(), first_capacity()) {
    if (budget.limited()) {
      query_maker = std::make_shared<QueryMaker>(model, options.interventions, options.mla, ledger);
    }
    for (int64_t layer = 0; layer < architecture->layer_count(); ++layer) records.push_back(make_record(layer));
    if (options.logits.begin < options.logits.end) {
      const int64_t rows = std::min(options.logits.end, options.expected_tokens) - options.logits.begin;
      kept_logits =
          GrowingRows(host_ledger, MemoryPurpose::viewer, architecture->vocab_size, std::max<int64_t>(1, rows));
    }
  }

  int64_t first_capacity() const {
    return std::min(architecture->context, std::max<int64_t>(16, options.expected_tokens));
  }
  int64_t at_once() const { return tokens_at_once(*architecture, options.chunk); }
  CacheOptions cache_options() const { return {first_capacity(), at_once(), model->cache_element(), true}; }

  std::optional<int64_t> budget_bytes() const {
    if (options.query_bytes) return options.query_bytes;
    return usual_query_bytes(*model->device(), *architecture, model->cache_element(), first_capacity());
  }

  /// Without queries, which the budget gives room to.
  LayerRecord make_record(int64_t layer) const {
    const int64_t heads = architecture->layers[static_cast<size_t>(layer)].q_heads;
    const auto rows = [&](int64_t width) {
      return GrowingRows(host_ledger, MemoryPurpose::viewer, width, first_capacity());
    };
    const int64_t cells = options.thumbnail_cells;
    auto grid = std::make_shared<ThumbnailGrid>();
    grid->cells = cells;
    grid->bin = ThumbnailGrid::smallest_bin(options.expected_tokens, cells);
    grid->max.assign(static_cast<size_t>(heads * cells * cells), 0.0f);
    return {std::nullopt, std::nullopt, rows(heads), rows(heads), rows(statistic_count * heads), std::move(grid)};
  }

  void check_ids(std::span<const int32_t> new_ids) const;
  void append(std::span<const int32_t> chunk, const Progress&, double done, double total);
  void forward(std::span<const int32_t> chunk, const NextTokens&, const Progress&, double done, double total);
  void add_queries(RunSnapshot&);
  void take_logits(const at::Tensor& x);
  void decode_one(int32_t id, const NextTokens&);
  at::Tensor logits_of(const at::Tensor& x) const { return compute_logits(*architecture, model->weights(), x); }
  void set_last_logits(const float* logits) { last_logits.assign(logits, logits + architecture->vocab_size); }

  int64_t position() const { return static_cast<int64_t>(ids.size()); }

  std::shared_ptr<const Model> model;
  RunOptions options;
  std::shared_ptr<const Architecture> architecture;
  std::shared_ptr<MemoryLedger> ledger;       ///< of the cache and of queries, which kernels read
  std::shared_ptr<MemoryLedger> host_ledger;  ///< of what only viewers read
  KvCache cache;
  LayerStack layers;
  DecodeStep decode;
  QueryBudget budget;
  std::shared_ptr<QueryMaker> query_maker;  ///< null: all queries are kept
  std::vector<LayerRecord> records;
  std::vector<PastChunk> chunks;
  int64_t pass_end = 0;  ///< of the pass that is under way
  std::vector<int32_t> ids;
  std::vector<std::string> pieces;  ///< their texts; empty without a tokenizer
  std::optional<int64_t> prompt_tokens;
  std::vector<int64_t> allocated_history;
  std::vector<float> last_logits;
  GrowingRows kept_logits;
};

}  // namespace headscope
