#pragma once

#include <atomic>
#include <set>
#include <string>
#include <vector>

#include <ATen/Parallel.h>

#include "core/data/rope_table.h"
#include "core/run/attention_step.h"
#include "core/run/kv_cache.h"
#include "core/run/run.h"

namespace headscope {

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

/// What a run holds, and its passes through the layers (forward.cpp).
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
  at::Tensor rebuilt_values(int64_t layer, const RowsView& keys) const;
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

}  // namespace headscope
