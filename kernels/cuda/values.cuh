#pragma once

#include "kernels/cuda/softmax.cuh"

namespace headscope::cuda {

// Sums of weights times values. A lane's part of them is laid out as scores are (softmax.cuh), dimensions in the place
// of columns.

/// The weights of a warp's 16 rows and 16 * kSteps keys as left factors.
template <int kPlanes, int kSteps>
struct WeightFactors {
  uint32_t parts[kSteps][kPlanes][4];

  HEADSCOPE_DEVICE explicit WeightFactors(const float (&weights)[2 * kSteps][4]) {
    HEADSCOPE_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      HEADSCOPE_UNROLL
      for (int part = 0; part < 4; ++part) {
        const float(&pair)[4] = weights[2 * step + part / 2];
        uint32_t planes[kPlanes];
        split(pair[part % 2 * 2], pair[part % 2 * 2 + 1], planes);
        HEADSCOPE_UNROLL
        for (int plane = 0; plane < kPlanes; ++plane) parts[step][plane][part] = planes[plane];
      }
    }
  }
};

/// The fragments of 16 keys, 16 dimensions, as two right factors whose columns are dimensions. `from` is the lane's row
/// of the matrices.
HEADSCOPE_DEVICE void load_values(uint32_t (&b)[2][2], const uint16_t* from) {
  uint32_t r[4];
  load_matrices_transposed(r, from);
  b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
}

/// The same from a tile, keys from `first_key` and dimensions from `dim` on.
HEADSCOPE_DEVICE void load_values(uint32_t (&b)[2][2], const SharedPlanes& from, int plane, int first_key, int dim) {
  const int lane = lane_index();
  load_values(b, from.row(plane, first_key + lane % 16) + dim + lane / 16 * 8);
}

/// sums = factors sums + weights times a tile of values. A tile is summed on its own, because the tensor cores cut off
/// what is below the last digit of the sum so far.
template <int kPlanes, int kSteps, int kBlocks>
HEADSCOPE_DEVICE void add_values(const WeightFactors<kPlanes, kSteps>& weights, const SharedPlanes& values,
                                 const float (&factors)[2], float (&sums)[kBlocks][4]) {
  // The shape of the tile, known here, so that places in it are offsets from one register.
  constexpr SharedPlanes shape{nullptr, 16 * kSteps, 8 * kBlocks, kPlanes};
  const uint16_t* const from = values.data + lane_index() % 16 * shape.pitch() + lane_index() / 16 * 8;
  HEADSCOPE_UNROLL
  for (int n = 0; n < kBlocks; n += 2) {
    // Keeps ptxas from loading the fragments of later dimensions ahead until registers spill.
    if constexpr (kPlanes > 1) warp_barrier();
    float tile[2][4] = {}, rest[2][4] = {};  // of the first planes, and of others
    HEADSCOPE_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      uint32_t b[kPlanes][2][2];
      HEADSCOPE_UNROLL
      for (int plane = 0; plane < kPlanes; ++plane) {
        if (plane < values.count)
          load_values(b[plane], from + (plane * shape.rows + 16 * step) * shape.pitch() + 8 * n);
      }
      HEADSCOPE_UNROLL
      for (int i = 0; i < plane_pairs<kPlanes>(); ++i) {
        constexpr int planes = kPlanes;
        const PlanePair pair = plane_pair(planes, i);
        if (pair.key >= values.count) continue;
        const bool first = pair.query + pair.key == 0;
        multiply_add(first ? tile[0] : rest[0], weights.parts[step][pair.query], b[pair.key][0]);
        multiply_add(first ? tile[1] : rest[1], weights.parts[step][pair.query], b[pair.key][1]);
      }
    }
    HEADSCOPE_UNROLL
    for (int block = 0; block < 2; ++block) {
      HEADSCOPE_UNROLL
      for (int i = 0; i < 4; ++i)
        sums[n + block][i] = fmaf(sums[n + block][i], factors[i / 2], tile[block][i] + rest[block][i]);
    }
  }
}

HEADSCOPE_DEVICE bool is_finite(float x) { return x - x == 0; }

template <int kBlocks>
HEADSCOPE_DEVICE bool all_finite(const float (&sums)[kBlocks][4]) {
  bool finite = true;
  HEADSCOPE_UNROLL
  for (int n = 0; n < kBlocks; ++n) {
    HEADSCOPE_UNROLL
    for (int i = 0; i < 4; ++i) finite = finite && is_finite(sums[n][i]);
  }
  return finite;
}

/// Puts zeros in the place of numbers that are inf or NaN: in the product above, a weight of 0 would carry NaN into
/// rows that do not see them. `row_of(index)` is the stored row of a key, or none. All threads of the block together; a
/// barrier must come before anyone reads.
template <class RowOf>
HEADSCOPE_DEVICE void hide_bad_values(const SharedPlanes& values, int64_t dims, const RowOf& row_of) {
  for (int index = thread_index(); index < values.rows; index += block_threads()) {
    const GlobalRow row = row_of(index);
    for (int dim = 0; row.data && dim < dims; ++dim) {
      if (is_finite(row.at(dim))) continue;
      for (int plane = 0; plane < values.count; ++plane) values.row(plane, index)[dim] = 0;
    }
  }
}

}  // namespace headscope::cuda
