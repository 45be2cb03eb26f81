#include "core/data/map_tiles.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/data/tiles.h"

namespace headscope {
namespace {

struct Range {
  int64_t begin = 0, end = 0;
};

float larger(float a, float b) { return b > a || std::isnan(b) ? b : a; }  // NaN wins, as in the kernels

/// The cells of the tokens' range in steps of `bin`, cut outwards.
Range cells_of(int64_t begin, int64_t end, int64_t bin) { return {begin / bin, (end + bin - 1) / bin}; }

/// Fills one tile's part of a region, row by row.
class PartComposer {
 public:
  PartComposer(const RunSnapshot& run, const MapRegion& region, const TileSource& source, std::vector<float>& out)
      : region_(region), source_(source), out_(out), tokens_(run.tokens()), bin_(region.bin) {
    const LayerRows& layer = run.layers[static_cast<size_t>(region.layer)];
    if (layer.thumbnails && !layer.thumbnails->max.empty()) thumbnails_ = layer.thumbnails.get();
    rows_ = part(region.row_begin, region.rows(), source.key.row);
    columns_ = part(region.key_begin, region.columns(), source.key.column);
  }

  /// Returns whether all cells are exact.
  bool compose() {
    bool exact = true;
    for (int64_t row = rows_.begin; row < rows_.end; ++row) {
      // Keys after the queries of this row of cells are seen by none.
      const int64_t columns = std::min(columns_.end, row + 1) - columns_.begin;
      if (columns <= 0) continue;
      if (const float* from = tile_row(source_.key, source_.tile, row)) {
        std::copy_n(from + columns_.begin - source_.key.column * tile_cells, columns, out_row(row));
        // Of a run that was longer, the cell that this one's end cuts holds later rows.
        exact = exact && ((row + 1) * bin_ <= tokens_ || source_.tile->length <= tokens_);
      } else {
        exact = false;
        fill_coarse(row, columns);
      }
    }
    return exact;
  }

 private:
  /// Cells of the region, counted from the map's corner, that lie in the tile.
  Range part(int64_t begin_token, int64_t cells, int64_t tile) const {
    const int64_t first = begin_token / bin_;
    return {std::max(first, tile * tile_cells), std::min(first + cells, (tile + 1) * tile_cells)};
  }

  float* out_row(int64_t row) const {
    const int64_t r = row - region_.row_begin / bin_, c = columns_.begin - region_.key_begin / bin_;
    return out_.data() + r * region_.columns() + c;
  }

  /// The tile's cells for a row of cells of its level, if all of the run's rows are in them.
  const float* tile_row(const TileKey& key, const MapTilePtr& tile, int64_t row) const {
    const int64_t end = std::min(tokens_, (row + 1) * key.bin), local = row - key.row * tile_cells;
    const bool known =
        tile && tile->length >= end && (local + 1) * tile_cells <= static_cast<int64_t>(tile->cells.size());
    return known ? tile->cells.data() + local * tile_cells : nullptr;
  }

  void fill_coarse(int64_t row, int64_t columns) {
    for (const auto& [key, tile] : source_.coarser) {
      if (thumbnails_ && thumbnails_->bin <= key.bin) break;
      const int levels = std::countr_zero(static_cast<uint64_t>(key.bin / bin_));
      const float* from = tile_row(key, tile, row >> levels);
      if (!from) continue;
      const int64_t first = key.column * tile_cells;
      float* to = out_row(row);
      for (int64_t c = 0; c < columns; ++c) to[c] = from[((columns_.begin + c) >> levels) - first];
      return;
    }
    if (thumbnails_) fill_from_thumbnail(row, columns);
  }

  /// A cell may lie across several of the thumbnail's; it gets the largest of them.
  void fill_from_thumbnail(int64_t row, int64_t columns) {
    const Range rows = thumbnail_cells(row);
    if (rows.begin != pooled_.begin || rows.end != pooled_.end) pool_thumbnail(rows);
    float* to = out_row(row);
    for (int64_t c = 0; c < columns; ++c) to[c] = thumbnail_row_[static_cast<size_t>(c)];
  }

  Range thumbnail_cells(int64_t cell) const {
    const Range all = cells_of(cell * bin_, std::min(tokens_, (cell + 1) * bin_), thumbnails_->bin);
    return {all.begin, std::min(all.end, thumbnails_->cells)};
  }

  /// The thumbnail's `rows` as one row of this part's cells. Many rows of cells in turn ask for the same.
  void pool_thumbnail(Range rows) {
    const int64_t cells = thumbnails_->cells;
    const float* map = thumbnails_->max.data() + region_.head * cells * cells;
    std::vector<float> most(static_cast<size_t>(cells), 0.0F);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      for (int64_t c = 0; c < cells; ++c) {
        float& cell = most[static_cast<size_t>(c)];
        cell = larger(cell, map[r * cells + c]);
      }
    }
    thumbnail_row_.assign(static_cast<size_t>(columns_.end - columns_.begin), 0.0F);
    for (int64_t column = columns_.begin; column < columns_.end; ++column) {
      const Range across = thumbnail_cells(column);
      float& cell = thumbnail_row_[static_cast<size_t>(column - columns_.begin)];
      for (int64_t c = across.begin; c < across.end; ++c) cell = larger(cell, most[static_cast<size_t>(c)]);
    }
    pooled_ = rows;
  }

  const MapRegion& region_;
  const TileSource& source_;
  std::vector<float>& out_;
  const int64_t tokens_, bin_;
  const ThumbnailGrid* thumbnails_ = nullptr;
  Range rows_, columns_;  ///< cells of this part, counted from the map's corner
  Range pooled_{-1, -1};  ///< the thumbnail's rows that `thumbnail_row_` holds
  std::vector<float> thumbnail_row_;
};

}  // namespace

bool sees_nothing(const TileKey& key, int64_t window) {
  if (key.column > key.row) return true;
  return window != 0 && key.key_begin() + key.span() <= key.row_begin() - window + 1;
}

bool covers(const TileKey& key, const MapTile* tile, int64_t tokens) {
  if (!tile) return false;
  const int64_t wanted = key.row_end(tokens);
  return tile->length == wanted || (tile->length > wanted && wanted % key.bin == 0);
}

MapTilePtr extend_tile(const RunSnapshot& run, const TileKey& key, const MapTile* known, const ParallelFor& workers,
                       std::stop_token stop) {
  const int64_t kept = known ? known->length / key.bin - key.row * tile_cells : 0;  // whole rows of cells
  TileQuery query{key.layer, key.head, key.row_begin() + kept * key.bin, key.row_end(run.tokens()), key.key_begin(),
                  0,         key.bin};
  const int64_t keys = std::min(key.span(), query.row_end - query.key_begin);
  const int64_t band = std::max<int64_t>(1, band_products / keys / key.bin) * key.bin;
  query.row_end = std::min(query.row_end, query.row_begin + band);
  query.key_end = std::min(query.key_begin + key.span(), query.row_end);
  const Tile fresh = compute_tile(run, query, workers, std::move(stop));

  auto tile = std::make_shared<MapTile>();
  tile->length = query.row_end;
  tile->kernel = fresh.kernel;
  tile->cells.resize(static_cast<size_t>((kept + fresh.rows) * tile_cells), 0.0F);
  if (known) std::copy_n(known->cells.begin(), kept * tile_cells, tile->cells.begin());
  for (int64_t row = 0; row < fresh.rows; ++row) {
    std::copy_n(fresh.cells.begin() + row * fresh.columns, fresh.columns,
                tile->cells.begin() + (kept + row) * tile_cells);
  }
  return tile;
}

Composition compose_region(const RunSnapshot& run, const MapRegion& region, const std::vector<TileSource>& sources) {
  auto cells = std::make_shared<std::vector<float>>(static_cast<size_t>(region.rows() * region.columns()), 0.0F);
  Composition out;
  for (const TileSource& source : sources) {
    const bool exact = PartComposer(run, region, source, *cells).compose();
    out.exact = out.exact && exact;
    if (source.tile) out.kernel = source.tile->kernel;
  }
  out.cells = std::move(cells);
  return out;
}

}  // namespace headscope
