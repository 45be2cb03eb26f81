#pragma once

#include <string>
#include <vector>

#include "core/run/decode_step.h"
#include "core/run/layers.h"

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
        decode(model, layers, [this](const at::Tensor& x) { return logits_of(x); }) {
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

  LayerRecord make_record(int64_t layer) const {
    const int64_t heads = architecture->layers[static_cast<size_t>(layer)].q_heads;
    const KvStore& store = architecture->store_of(layer);
    const auto rows = [&](const std::shared_ptr<MemoryLedger>& where, int64_t width, Element element = Element::f32) {
      return GrowingRows(where, MemoryPurpose::viewer, width, first_capacity(), INT64_MAX, element);
    };
    const int64_t cells = options.thumbnail_cells;
    auto grid = std::make_shared<ThumbnailGrid>();
    grid->cells = cells;
    grid->bin = ThumbnailGrid::smallest_bin(options.expected_tokens, cells);
    grid->max.assign(static_cast<size_t>(heads * cells * cells), 0.0f);
    return {rows(ledger, heads * store.key_dim, query_element(store, model->cache_element())), rows(host_ledger, heads),
            rows(host_ledger, heads), rows(host_ledger, statistic_count * heads), std::move(grid)};
  }

  void check_ids(std::span<const int32_t> new_ids) const;
  void append(std::span<const int32_t> chunk, const Progress&, double done, double total);
  void forward(std::span<const int32_t> chunk, const Progress&, double done, double total);
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
  std::vector<LayerRecord> records;
  std::vector<int32_t> ids;
  std::vector<std::string> pieces;  ///< their texts; empty without a tokenizer
  std::optional<int64_t> prompt_tokens;
  std::vector<int64_t> allocated_history;
  std::vector<float> last_logits;
  GrowingRows kept_logits;
};

}  // namespace headscope
