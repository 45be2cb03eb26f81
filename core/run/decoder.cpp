#include "core/run/decoder.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "core/base/text.h"
#include "core/model/torch_errors.h"
#include "core/run/decode_step.h"
#include "core/run/layers.h"

namespace headscope {

struct Decoder::State {
  State(std::shared_ptr<const Model> loaded, int64_t sequences, int64_t first_capacity, bool may_record)
      : model(std::move(loaded)),
        layers(model, {}, {}),
        decode(model, layers, [this](const at::Tensor& x) { return likeliest(x); }),
        recorded(may_record) {
    if (sequences < 1) fail("a batch has {} sequences; it takes 1 or more", sequences);
    const CacheOptions options{first_capacity, tokens_at_once(architecture(), RunOptions{}.chunk),
                               model->cache_element(), false};
    for (int64_t i = 0; i < sequences; ++i) caches.emplace_back(architecture(), ledger, options);
  }

  const Architecture& architecture() const { return *model->architecture(); }
  at::Tensor likeliest(const at::Tensor& x) const {
    return compute_logits(architecture(), model->weights(), x).argmax(1);
  }

  void check(std::span<const int32_t> ids, int64_t new_tokens) const {
    if (tokens + new_tokens > architecture().context) {
      fail("{} tokens are more than the context of {} that {} has", tokens + new_tokens, architecture().context,
           quoted(model->name()));
    }
    for (const int32_t id : ids) {
      if (id >= 0 && id < architecture().vocab_size) continue;
      fail("token id {} is outside the vocabulary of {}, which has ids 0 to {}", id, quoted(model->name()),
           architecture().vocab_size - 1);
    }
  }

  std::shared_ptr<const Model> model;
  std::shared_ptr<MemoryLedger> ledger = std::make_shared<MemoryLedger>(model->device());
  LayerStack layers;
  DecodeStep decode;
  std::vector<KvCache> caches;
  const bool recorded;
  int64_t tokens = 0;
};

Decoder::Decoder(std::shared_ptr<const Model> model, int64_t sequences, int64_t first_capacity, bool recorded)
    : state_(std::make_unique<State>(std::move(model), sequences, first_capacity, recorded)) {}

Decoder::~Decoder() = default;

void Decoder::prefill(std::span<const int32_t> ids, const Progress& progress) {
  const c10::InferenceMode no_gradients;
  State& state = *state_;
  if (state.tokens > 0) throw std::logic_error("Decoder: a prompt comes first, and once");
  state.check(ids, static_cast<int64_t>(ids.size()));
  state.layers.fit_ropes(static_cast<int64_t>(ids.size()));
  const auto chunk = static_cast<size_t>(tokens_at_once(state.architecture(), RunOptions{}.chunk));
  with_torch_errors([&] {
    for (size_t begin = 0; begin < ids.size(); begin += chunk) {
      const auto part = ids.subspan(begin, std::min(chunk, ids.size() - begin));
      const NextTokens next{&state.caches.front(), nullptr, static_cast<int64_t>(begin),
                            static_cast<int64_t>(part.size())};
      const at::Tensor x = state.layers.forward(part, {&next, 1}, [&](int64_t) { progress.check(); });
      if (begin + part.size() == ids.size()) {
        compute_logits(state.architecture(), state.model->weights(), x.narrow(0, x.size(0) - 1, 1));
      }
    }
  });
  for (size_t i = 1; i < state.caches.size(); ++i) state.caches[i] = state.caches.front().copy();
  state.tokens = static_cast<int64_t>(ids.size());
}

std::vector<int32_t> Decoder::step(std::span<const int32_t> ids) {
  const c10::InferenceMode no_gradients;
  State& state = *state_;
  if (ids.size() != state.caches.size()) throw std::logic_error("Decoder: one token for each sequence");
  state.check(ids, 1);
  state.layers.fit_ropes(state.tokens + 1);
  std::vector<NextTokens> next;
  for (KvCache& cache : state.caches) next.push_back({&cache, nullptr, state.tokens, 1});
  std::vector<int32_t> likeliest(ids.size());
  try {
    with_torch_errors([&] {
      const at::Tensor best = state.recorded && state.decode.serves(next)
                                  ? state.decode.run(ids, next)
                                  : state.likeliest(state.layers.forward(ids, next, [](int64_t) {})).cpu();
      std::copy_n(best.const_data_ptr<int64_t>(), likeliest.size(), likeliest.begin());
    });
  } catch (...) {
    for (KvCache& cache : state.caches) cache.truncate(state.tokens);
    throw;
  }
  ++state.tokens;
  return likeliest;
}

int64_t Decoder::sequences() const { return static_cast<int64_t>(state_->caches.size()); }

int64_t Decoder::tokens() const { return state_->tokens; }

int64_t Decoder::kv_used_bytes() const {
  int64_t bytes = 0;
  for (const KvCache& cache : state_->caches) bytes += cache.used_bytes();
  return bytes;
}

int64_t Decoder::kv_allocated_bytes() const { return state_->ledger->bytes(MemoryPurpose::kv); }

int64_t Decoder::kv_peak_bytes() const { return state_->ledger->peak_bytes(MemoryPurpose::kv); }

int64_t Decoder::kv_read_bytes() const {
  int64_t bytes = 0;
  const Architecture& a = state_->architecture();
  for (const KvCache& cache : state_->caches) {
    for (int64_t layer = 0; layer < a.layer_count(); ++layer) {
      const int64_t window = a.layers[static_cast<size_t>(layer)].window;
      const int64_t seen = window > 0 ? std::min(window, state_->tokens) : state_->tokens;
      bytes += seen * cache.store_of(layer).row_bytes();
    }
  }
  return bytes;
}

int64_t Decoder::recorded_steps() const { return state_->decode.repeats(); }

std::string Decoder::kernel() const { return listed(state_->layers.kernels()); }

}  // namespace headscope
