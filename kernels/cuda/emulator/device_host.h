#pragma once

// device.h on the emulator. Included by device.h alone.

#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/bf16.h"
#include "kernels/cuda/emulator/emulator.h"

#define HEADSCOPE_KERNEL
#define HEADSCOPE_PARAMS const
#define HEADSCOPE_DEVICE inline
#define HEADSCOPE_DEVICE_APART inline
#define HEADSCOPE_HOST_DEVICE inline
#define HEADSCOPE_LAUNCH_BOUNDS(threads, blocks)
#define HEADSCOPE_UNROLL

namespace headscope::cuda {

inline int thread_index() { return emulator::place().thread; }
inline int block_threads() { return emulator::place().threads; }
inline int lane_index() { return thread_index() % warp_size; }
inline int warp_index() { return thread_index() / warp_size; }
inline Grid block_index() {
  const emulator::Place& at = emulator::place();
  return {at.block_x, at.block_y, at.block_z};
}
inline Grid grid_blocks() {
  const emulator::Place& at = emulator::place();
  return {at.blocks_x, at.blocks_y, at.blocks_z};
}
inline std::byte* shared_memory() { return emulator::shared_memory(); }

inline void block_barrier() { emulator::block_barrier(); }
inline void warp_barrier() {
  emulator::meet(nullptr, [](void* const*) {});
}

template <class T>
struct Exchange {
  T value;
  int lane;
  T result;
};

template <class T>
T shuffle_from(T value, int lane) {
  Exchange<T> mine{value, lane, value};
  emulator::meet(&mine, [](void* const* lanes) {
    for (int i = 0; i < warp_size; ++i) {
      auto& one = *static_cast<Exchange<T>*>(lanes[i]);
      one.result = static_cast<const Exchange<T>*>(lanes[one.lane % warp_size])->value;
    }
  });
  return mine.result;
}
template <class T>
T shuffle_xor(T value, int mask) {
  return shuffle_from(value, lane_index() ^ mask);
}
inline bool any_of_warp(bool value) {
  bool mine = value;
  emulator::meet(&mine, [](void* const* lanes) {
    bool any = false;
    for (int i = 0; i < warp_size; ++i) any = any || *static_cast<const bool*>(lanes[i]);
    for (int i = 0; i < warp_size; ++i) *static_cast<bool*>(lanes[i]) = any;
  });
  return mine;
}

inline float low_bf16(uint32_t pair) { return from_bf16(static_cast<uint16_t>(pair & 0xFFFF)); }
inline float high_bf16(uint32_t pair) { return from_bf16(static_cast<uint16_t>(pair >> 16)); }

struct MultiplyAdd {
  float (&d)[4];
  const uint32_t (&a)[4];
  const uint32_t (&b)[2];

  /// Products in f32, which holds them; summed in the order of the columns.
  static void execute(void* const* lanes);
};

inline void MultiplyAdd::execute(void* const* lanes) {
  float a[16][16], b[16][8], d[16][8];
  const auto each = [&](auto visit) {
    for (int lane = 0; lane < warp_size; ++lane) visit(*static_cast<MultiplyAdd*>(lanes[lane]), lane / 4, lane % 4);
  };
  each([&](const MultiplyAdd& one, int g, int t) {
    for (int part = 0; part < 4; ++part) {
      const int row = g + part % 2 * 8, column = 2 * t + part / 2 * 8;
      a[row][column] = low_bf16(one.a[part]), a[row][column + 1] = high_bf16(one.a[part]);
      d[row][2 * t + part % 2] = 0;
    }
    for (int part = 0; part < 2; ++part) {
      b[2 * t + 8 * part][g] = low_bf16(one.b[part]), b[2 * t + 8 * part + 1][g] = high_bf16(one.b[part]);
    }
    d[g][2 * t] = one.d[0], d[g][2 * t + 1] = one.d[1], d[g + 8][2 * t] = one.d[2], d[g + 8][2 * t + 1] = one.d[3];
  });
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < 16; ++k) {
      for (int column = 0; column < 8; ++column) d[row][column] += a[row][k] * b[k][column];
    }
  }
  each([&](MultiplyAdd& one, int g, int t) {
    one.d[0] = d[g][2 * t], one.d[1] = d[g][2 * t + 1], one.d[2] = d[g + 8][2 * t], one.d[3] = d[g + 8][2 * t + 1];
  });
}

inline void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  MultiplyAdd mine{d, a, b};
  emulator::meet(&mine, MultiplyAdd::execute);
}

struct MatrixLoad {
  uint32_t (&r)[4];
  const void* row;

  /// Number `column` of row `i` of matrix `m`.
  static uint16_t number(void* const* lanes, int m, int i, int column) {
    uint16_t value;
    const auto* from = static_cast<const std::byte*>(static_cast<const MatrixLoad*>(lanes[8 * m + i])->row);
    std::memcpy(&value, from + 2 * column, sizeof value);
    return value;
  }
  template <bool kTransposed>
  static void execute(void* const* lanes) {
    for (int lane = 0; lane < warp_size; ++lane) {
      const int g = lane / 4, t = 2 * (lane % 4);
      for (int m = 0; m < 4; ++m) {
        const uint32_t low = kTransposed ? number(lanes, m, t, g) : number(lanes, m, g, t);
        const uint32_t high = kTransposed ? number(lanes, m, t + 1, g) : number(lanes, m, g, t + 1);
        static_cast<MatrixLoad*>(lanes[lane])->r[m] = low | high << 16;
      }
    }
  }
};

inline void check_matrix_row(const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) {
    throw emulator::EmulationError("a row of a matrix is not aligned to 16 bytes");
  }
}
inline void load_matrices(uint32_t (&r)[4], const void* shared_row) {
  check_matrix_row(shared_row);
  MatrixLoad mine{r, shared_row};
  emulator::meet(&mine, MatrixLoad::execute<false>);
}
inline void load_matrices_transposed(uint32_t (&r)[4], const void* shared_row) {
  check_matrix_row(shared_row);
  MatrixLoad mine{r, shared_row};
  emulator::meet(&mine, MatrixLoad::execute<true>);
}

inline void copy_async(void* shared, const void* global, bool valid) { emulator::copy_async(shared, global, valid); }
inline void commit_copies() { emulator::commit_copies(); }
template <int kOpen>
void wait_for_copies() {
  emulator::wait_for_copies(kOpen);
}

inline float flush(float x) { return std::abs(x) < 0x1p-126F ? 0.0F : x; }  // keeps NaN
inline float exp2_fast(float x) { return flush(std::exp2(flush(x))); }
inline float log2_fast(float x) { return std::log2(flush(x)); }
inline float rounded_product(float a, float b) { return a * b; }
inline uint32_t pack_bf16(float low, float high) { return to_bf16(low) | static_cast<uint32_t>(to_bf16(high)) << 16; }
inline float float_of_bits(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t bits_of_float(float value) { return std::bit_cast<uint32_t>(value); }

inline int leading_zeros(uint32_t bits) { return std::countl_zero(bits); }

inline void atomic_max(uint32_t* to, uint32_t value) {
  if (value > *to) *to = value;
}
inline uint32_t atomic_add(uint32_t* to, uint32_t value) {
  const uint32_t before = *to;
  *to += value;
  return before;
}
inline uint64_t atomic_swap_if(uint64_t* to, uint64_t expected, uint64_t value) {
  const uint64_t seen = *to;
  if (seen == expected) *to = value;
  return seen;
}

inline DeviceLimits current_limits() { return emulator::machine().limits; }

template <class Params>
void launch(const char* name, void (*kernel)(Params), Grid grid, int threads, size_t shared_bytes, void* /*stream*/,
            const Params& params) {
  if (shared_bytes > current_limits().block_bytes) {
    throw emulator::EmulationError(std::string(name) + ": a block asks for more shared memory than there is");
  }
  if (!emulator::machine().runs) return;
  emulator::run({name, grid.x, grid.y, grid.z, threads, shared_bytes}, [&] { kernel(params); });
}

inline void wait(const char* /*name*/, void* /*stream*/) {}

/// Small, so that the tests see requests of several launches, and stops between them.
inline constexpr double launch_work = 2e7;
/// As if there were one multiprocessor, so that small problems are cut as large ones are on a GPU.
inline int filling_blocks(const DeviceLimits& /*limits*/, int each) { return each; }

inline void clear(const char* /*name*/, void* memory, size_t bytes, void* /*stream*/) {
  if (bytes > 0) std::memset(memory, 0, bytes);
}

}  // namespace headscope::cuda
