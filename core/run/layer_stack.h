#pragma once

#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/model/torch_workers.h"
#include "core/run/attention_step.h"
#include "core/run/kv_cache.h"
#include "core/run/projections.h"
#include "core/run/read_cache.h"
#include "core/run/run.h"

namespace headscope {

/// The next tokens of one sequence on their way through the layers.
struct NextTokens {
  KvCache* cache = nullptr;
  std::vector<LayerRecord>* records = nullptr;  ///< one for each layer; null: nothing is kept for viewers
  int64_t position = 0;                         ///< of the first; the tokens that the cache holds
  int64_t count = 0;
  /// Not null: the tokens went through before. Keys and values, theirs too, are those of this run, and none are
  /// written.
  const RunSnapshot* past = nullptr;
};

/// Tokens of a run that went through the layers together, for which queries are made anew.
struct PastTokens {
  const RunSnapshot& run;
  int64_t position, count;
  int64_t start;     ///< the layer from whose input on
  at::Tensor input;  ///< [count, d_model]; undefined for layer 0, whose input is made from the ids
};

/// The layers of a model with what a run sets: interventions, the form of MLA, the angles of a pass. One thread uses
/// it.
class LayerStack {
 public:
  LayerStack(std::shared_ptr<const Model>, std::vector<Intervention>, MlaOptions);

  /// Makes the angles of a pass, which comes next and ends at `tokens` tokens. Dynamic scaling goes by the end of the
  /// whole pass, so that its chunks make no difference.
  void fit_ropes(int64_t tokens);
  /// Those of queries alone.
  void fit_query_ropes(int64_t tokens);
  /// Of the keys that a layer rotates when it reads them; null for other layers.
  std::shared_ptr<const KeyAngles> key_angles(int64_t layer) const { return key_angles_[static_cast<size_t>(layer)]; }
  /// Forwards `ids`, the tokens of all sequences one after the other, and adds to their caches and records. Returns the
  /// hidden states [ids, d_model] behind the last layer. `on_layer` is called before each layer. When anything throws,
  /// the rows that were added so far stay; the caller takes them back.
  at::Tensor forward(std::span<const int32_t> ids, std::span<const NextTokens>,
                     const std::function<void(int64_t layer)>& on_layer);
  /// The queries of a layer as they would have been kept, of tokens whose pass fit_query_ropes was told of: the same
  /// work in the same order, so on the host the same bits. `on_layer` is called before each layer.
  at::Tensor queries_again(const PastTokens&, int64_t layer, const std::function<void(int64_t layer)>& on_layer);
  /// Of the queries of a layer, and of the keys that it writes.
  const RopeTable& rope(int64_t layer) const { return ropes_[static_cast<size_t>(layer)]; }
  /// Whether latents become keys and values of every head (MLA). One form for all sequences, so that values of mixed
  /// latents are made for all at once.
  bool expands(int64_t layer, std::span<const NextTokens>) const;
  /// What interventions make of the outputs of a layer's heads [tokens, q_heads, value dimension].
  void intervene(int64_t layer, at::Tensor& heads_output) const;
  /// Queries that rope has turned, in the type that meets the cache and that is kept.
  at::Tensor as_kept(int64_t layer, const at::Tensor& queries) const;
  /// An attention kernel ran.
  void ran(std::string_view kernel) { kernels_.emplace(kernel); }
  /// Names of the attention kernels that have run.
  const std::set<std::string, std::less<>>& kernels() const { return kernels_; }

 private:
  at::Tensor embed_all(std::span<const int32_t> ids, std::span<const NextTokens>) const;
  at::Tensor attention(int64_t layer, const at::Tensor& x, std::span<const NextTokens>);
  void write_cache(int64_t layer, const Projections&, const NextTokens&);
  void attend_one(int64_t layer, const Projections&, const NextTokens&, bool expanded, float* out);
  ReadCache read_cache(int64_t layer, const NextTokens&) const;
  void fit_key_angles(int64_t layer, int64_t tokens);
  void rotate(int64_t layer, const at::Tensor& rows, int64_t heads, int64_t position) const;
  void append(CacheRows&, const at::Tensor& rows) const;

  std::shared_ptr<const Model> model_;
  std::shared_ptr<const Device> device_;
  std::shared_ptr<const Architecture> architecture_;
  std::vector<Intervention> interventions_;
  MlaOptions mla_;
  std::vector<RopeTable> ropes_;                              ///< [layers]
  std::vector<std::shared_ptr<const KeyAngles>> key_angles_;  ///< [layers]; layers of equal rope share theirs
  TorchWorkers workers_;
  std::set<std::string, std::less<>> kernels_;
};

}  // namespace headscope
