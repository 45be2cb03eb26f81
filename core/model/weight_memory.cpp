#include "core/model/weight_memory.h"

#include <sys/mman.h>

#include <new>

#include <ATen/ATen.h>

namespace headscope {
namespace {

constexpr size_t large = 256u << 10;  // bytes; below, whole pages would be wasted

size_t bytes_of(at::IntArrayRef shape, at::ScalarType type) {
  size_t bytes = at::elementSize(type);
  for (const int64_t size : shape) bytes *= static_cast<size_t>(size);
  return bytes;
}

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

}  // namespace headscope
