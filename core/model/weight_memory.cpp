#include "core/model/weight_memory.h"

#include <sys/mman.h>

#include <new>
#include <set>

#include <ATen/ATen.h>

namespace headscope {
namespace {

constexpr size_t large = 256u << 10;  // bytes; below, whole pages would be wasted

size_t bytes_of(at::IntArrayRef shape, at::ScalarType type) {
  size_t bytes = at::elementSize(type);
  for (const int64_t size : shape) bytes *= static_cast<size_t>(size);
  return bytes;
}

/// Adds up storages: weights may be views of one, and lm_head may be the embedding.
class Storages {
 public:
  void add(const at::Tensor& tensor) {
    if (!tensor.defined() || !seen_.insert(tensor.storage().unsafeGetStorageImpl()).second) return;
    bytes_ += static_cast<int64_t>(tensor.storage().nbytes());
  }
  void add(const Linear& linear) {
    add(linear.weight);
    add(linear.bias);
  }
  void add(const NormWeights& norm) {
    add(norm.weight);
    add(norm.bias);
  }
  void add(const MlpWeights& mlp) {
    for (const Linear* linear : {&mlp.gate, &mlp.up, &mlp.down}) add(*linear);
  }
  void add(const LayerWeights& w) {
    for (const NormWeights* norm : {&w.attention_norm, &w.mlp_norm, &w.attention_post_norm, &w.mlp_post_norm}) {
      add(*norm);
    }
    for (const Linear* linear : {&w.query, &w.key, &w.value, &w.query_latent, &w.latent, &w.output}) add(*linear);
    for (const at::Tensor* tensor : {&w.query_norm, &w.key_norm, &w.query_latent_norm, &w.latent_norm, &w.latent_key,
                                     &w.latent_value, &w.router, &w.router_bias}) {
      add(*tensor);
    }
    add(w.mlp);
    for (const MlpWeights& expert : w.experts) add(expert);
    add(w.shared);
  }
  int64_t bytes() const { return bytes_; }

 private:
  std::set<const c10::StorageImpl*> seen_;
  int64_t bytes_ = 0;
};

}  // namespace

at::Tensor empty_weight(at::IntArrayRef shape, at::ScalarType type) {
  const size_t bytes = bytes_of(shape, type);
  if (bytes < large) return at::empty(shape, type);
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  madvise(memory, bytes, MADV_HUGEPAGE);  // refused on some systems, which does no harm
  return at::from_blob(
      memory, shape, [bytes](void* begin) { munmap(begin, bytes); }, at::TensorOptions(type));
}

int64_t storage_bytes(const Weights& weights) {
  Storages all;
  all.add(weights.token_embedding);
  all.add(weights.position_embedding);
  all.add(weights.final_norm);
  all.add(weights.lm_head);
  for (const LayerWeights& layer : weights.layers) all.add(layer);
  return all.bytes();
}

}  // namespace headscope
