#pragma once

// device.h on the GPU: PTX behind plain names. Included by device.h alone.

#include <cuda_runtime.h>

#include <string>

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define HEADSCOPE_HAS_NVTX 1
#endif

#include "kernels/cuda/library.h"

#define HEADSCOPE_KERNEL __global__
/// Before the struct that is a kernel's only parameter: it stays where the launch put it, and is not copied to be
/// referred to.
#define HEADSCOPE_PARAMS const __grid_constant__
#define HEADSCOPE_DEVICE __device__ __forceinline__
/// Not inlined: for what is rare and large.
#define HEADSCOPE_DEVICE_APART inline __device__ __noinline__
#define HEADSCOPE_HOST_DEVICE __host__ __device__ __forceinline__
/// Most threads of a block, and blocks that shall fit on a multiprocessor at once: caps the registers.
#define HEADSCOPE_LAUNCH_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)
#define HEADSCOPE_UNROLL _Pragma("unroll")

namespace headscope::cuda {

HEADSCOPE_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
HEADSCOPE_DEVICE int block_threads() { return static_cast<int>(blockDim.x); }
HEADSCOPE_DEVICE int lane_index() { return static_cast<int>(threadIdx.x) % warp_size; }
HEADSCOPE_DEVICE int warp_index() { return static_cast<int>(threadIdx.x) / warp_size; }
HEADSCOPE_DEVICE Grid block_index() { return {blockIdx.x, blockIdx.y, blockIdx.z}; }
HEADSCOPE_DEVICE Grid grid_blocks() { return {gridDim.x, gridDim.y, gridDim.z}; }

HEADSCOPE_DEVICE std::byte* shared_memory() {
  extern __shared__ __align__(128) unsigned char dynamic_shared_memory[];
  return reinterpret_cast<std::byte*>(dynamic_shared_memory);
}

/// All threads of the block wait for each other, and see what they wrote to memory before.
HEADSCOPE_DEVICE void block_barrier() { __syncthreads(); }
/// The same for a warp.
HEADSCOPE_DEVICE void warp_barrier() { __syncwarp(); }

/// The value of the lane whose index differs by `mask`. All 32 lanes take part, here and in the functions below.
template <class T>
HEADSCOPE_DEVICE T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFU, value, mask);
}
HEADSCOPE_DEVICE bool any_of_warp(bool value) { return __any_sync(0xFFFFFFFFU, value) != 0; }

/// d += a b of bf16: A 16 x 16, B 16 x 8, D 16 x 8 in f32. Fragments as PTX has them (mma.m16n8k16): with g = lane / 4
/// and t = lane % 4, a = {A[g][2t..], A[g + 8][2t..], A[g][2t + 8..], A[g + 8][2t + 8..]}, each two neighbours of a
/// row, the lower half first; b = {B[2t..][g], B[2t + 8..][g]}, two neighbours of a column; d = {D[g][2t], D[g][2t +
/// 1], D[g + 8][2t], D[g + 8][2t + 1]}. The tensor cores sum 16 products and d in one go, cut off rather than rounded.
HEADSCOPE_DEVICE void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

HEADSCOPE_DEVICE uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

/// Four 8 x 8 matrices of 16-bit numbers from shared memory: lane i names row i % 8 of matrix i / 8 (16 bytes, aligned
/// so) and gets, of each matrix, the two numbers of row lane / 4 at column 2 (lane % 4).
HEADSCOPE_DEVICE void load_matrices(uint32_t (&r)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(shared_row))
               : "memory");
}
/// The same, each matrix transposed: a lane gets the numbers of rows 2 (lane % 4) and the next at column lane / 4.
HEADSCOPE_DEVICE void load_matrices_transposed(uint32_t (&r)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(shared_row))
               : "memory");
}

/// Copies 16 bytes (both sides aligned so) to shared memory in the background; zeros where not `valid`.
HEADSCOPE_DEVICE void copy_async(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
}
/// Closes a group of this thread's copies.
HEADSCOPE_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
/// Waits until at most `kOpen` of this thread's groups are under way. Other threads' copies need a barrier as well.
template <int kOpen>
HEADSCOPE_DEVICE void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kOpen) : "memory");
}

/// 2^x within 2^-22 of it; results below 2^-126 are 0; NaN stays.
HEADSCOPE_DEVICE float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
/// log2 x: within 2^-22 absolutely for x in [0.5, 2], relatively elsewhere; numbers below 2^-126 count as 0.
HEADSCOPE_DEVICE float log2_fast(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
/// a b, rounded: the compiler joins plain products with the sums they go into, in one place and not in another.
HEADSCOPE_DEVICE float rounded_product(float a, float b) { return __fmul_rn(a, b); }

/// Two numbers as bf16, rounded to nearest even; the first in the lower half.
HEADSCOPE_DEVICE uint32_t pack_bf16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

HEADSCOPE_DEVICE float float_of_bits(uint32_t bits) { return __uint_as_float(bits); }
HEADSCOPE_DEVICE uint32_t bits_of_float(float value) { return __float_as_uint(value); }

/// Binary digits before the first 1; 32 of 0.
HEADSCOPE_DEVICE int leading_zeros(uint32_t bits) { return __clz(static_cast<int>(bits)); }

/// Integers of global memory, atomically; the order of the calls does not matter to the result.
HEADSCOPE_DEVICE void atomic_max(uint32_t* to, uint32_t value) { atomicMax(to, value); }
/// Returns what was there before.
HEADSCOPE_DEVICE uint32_t atomic_add(uint32_t* to, uint32_t value) { return atomicAdd(to, value); }
HEADSCOPE_DEVICE uint64_t atomic_swap_if(uint64_t* to, uint64_t expected, uint64_t value) {
  return atomicCAS(reinterpret_cast<unsigned long long*>(to), expected, value);
}

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw CudaError(error, std::string(what) + ": " + cudaGetErrorString(error));
}

/// Those of the calling thread's current device. Throws CudaError.
inline DeviceLimits current_limits() {
  const char* const what = "limits of the GPU";
  int device = 0;
  check(cudaGetDevice(&device), what);
  const auto attribute = [&](cudaDeviceAttr which) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, device), what);
    return value;
  };
  return {static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)),
          static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor)),
          attribute(cudaDevAttrMultiProcessorCount)};
}

/// Lets a kernel have as much shared memory as the device gives a block: always the same, so that calls of several
/// threads do not meet.
template <class Params>
void allow_shared_memory(const char* name, void (*kernel)(Params), size_t wanted) {
  const size_t most = current_limits().block_bytes;
  if (wanted > most) {
    throw CudaError(cudaErrorInvalidValue, std::string(name) + ": a block needs " + std::to_string(wanted) +
                                               " bytes of shared memory, and this GPU has " + std::to_string(most));
  }
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most)), name);
}

/// Shows a launch by its name in profilers (NVTX, whose header alone is needed; toolkits may come without it).
class NamedRange {
 public:
#if HEADSCOPE_HAS_NVTX
  explicit NamedRange(const char* name) { nvtxRangePushA(name); }
  ~NamedRange() { nvtxRangePop(); }
#else
  explicit NamedRange(const char*) {}
#endif
  NamedRange(const NamedRange&) = delete;
  NamedRange& operator=(const NamedRange&) = delete;
};

/// Starts `kernel(params)` on a stream (cudaStream_t). Throws CudaError with the kernel's `name`.
template <class Params>
void launch(const char* name, void (*kernel)(Params), Grid grid, int threads, size_t shared_bytes, void* stream,
            const Params& params) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  const NamedRange range(name);
  allow_shared_memory(name, kernel, shared_bytes);
  Params copy = params;
  void* arguments[] = {&copy};
  check(cudaLaunchKernel(kernel, dim3(grid.x, grid.y, grid.z), dim3(static_cast<unsigned>(threads)), arguments,
                         shared_bytes, static_cast<cudaStream_t>(stream)),
        name);
}

/// Returns when all that the stream was given is done. Throws CudaError, also of kernels that failed meanwhile.
inline void wait(const char* name, void* stream) {
  check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), name);
}

/// Multiply-adds of one launch at most, so that a stop comes through within about 10 ms: two operations each, they take
/// 4 ms at a fifth of the 990 TFLOP/s that the tensor cores of an H200 are specified for, and 10 ms at a twelfth.
/// Unmeasured.
inline constexpr double launch_work = 4e11;

/// How many blocks fill the device, `each` a multiprocessor, where no result hangs on it.
inline int filling_blocks(const DeviceLimits& limits, int each) { return limits.multiprocessors * each; }

/// Fills device memory with zeros.
inline void clear(const char* name, void* memory, size_t bytes, void* stream) {
  if (bytes == 0) return;
  const NamedRange range(name);
  check(cudaMemsetAsync(memory, 0, bytes, static_cast<cudaStream_t>(stream)), name);
}

}  // namespace headscope::cuda
