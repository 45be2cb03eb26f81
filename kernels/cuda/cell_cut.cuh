#pragma once

#include "kernels/cuda/scores.cuh"

namespace headscope::cuda {

/// Places [origin, end) in cells of `bin` places, cut into pieces of at most `limit` places: several whole cells, or a
/// part of one. How a cell is cut depends on the cell alone, and so does the order of the sums over it.
struct CellCut {
  int64_t origin = 0, end = 0;
  int bin = 1, limit = 1;

  HEADSCOPE_HOST_DEVICE bool whole() const { return bin < limit; }  ///< pieces hold whole cells
  HEADSCOPE_HOST_DEVICE int cells() const { return end > origin ? static_cast<int>(ceil_div(end - origin, bin)) : 0; }
  HEADSCOPE_HOST_DEVICE int cells_of_piece() const { return whole() ? limit / bin : 1; }
  HEADSCOPE_HOST_DEVICE int pieces_of_cell() const { return whole() ? 1 : static_cast<int>(ceil_div(bin, limit)); }
  /// Those of the last cell may be empty.
  HEADSCOPE_HOST_DEVICE int pieces() const {
    return whole() ? static_cast<int>(ceil_div(cells(), cells_of_piece())) : cells() * pieces_of_cell();
  }
  HEADSCOPE_HOST_DEVICE int first_cell(int piece) const {
    return whole() ? piece * cells_of_piece() : piece / pieces_of_cell();
  }
  HEADSCOPE_HOST_DEVICE KeyRange range(int piece) const {
    if (whole()) {
      const int step = cells_of_piece() * bin;
      const int64_t begin = origin + int64_t{piece} * step;
      return {begin, smaller(begin + step, end)};
    }
    const int parts = pieces_of_cell();
    const int64_t cell = origin + int64_t{piece / parts} * bin, begin = cell + int64_t{piece % parts} * limit;
    return {begin, smaller(smaller(begin + limit, cell + bin), end)};
  }
  /// The piece that holds a place.
  HEADSCOPE_HOST_DEVICE int piece_of(int64_t place) const {
    const auto inside = static_cast<int>(place - origin), cell = inside / bin;
    return whole() ? cell / cells_of_piece() : cell * pieces_of_cell() + (inside - cell * bin) / limit;
  }
  /// Places of a cell before `end`.
  HEADSCOPE_HOST_DEVICE int64_t width(int cell) const { return smaller(bin, end - origin - int64_t{cell} * bin); }
};

/// Positions of rows that may see any of the keys [begin, end); end > begin.
HEADSCOPE_HOST_DEVICE KeyRange positions_of_keys(const AttentionProblem& p, int64_t begin, int64_t end) {
  KeyRange positions{p.causal_offset, p.causal_offset + p.q_len};
  if (end <= p.first_key) return {};
  if (p.causal) positions.begin = larger(positions.begin, larger(begin, p.first_key));
  if (p.window > 0) positions.end = smaller(positions.end, end - 1 + p.window);
  return positions;
}

}  // namespace headscope::cuda
