#pragma once

#include <cstddef>
#include <list>
#include <map>

#include "core/data/map_tiles.h"

namespace headscope {

/// Tiles by key, the least recently used out when there are too many bytes. Not thread-safe.
class TileCache {
 public:
  explicit TileCache(size_t budget) : budget_(budget) {}

  /// The tile or null; it counts as used now.
  MapTilePtr use(const TileKey& key) {
    const auto found = tiles_.find(key);
    if (found == tiles_.end()) return nullptr;
    recent_.splice(recent_.begin(), recent_, found->second.place);
    return found->second.tile;
  }

  void put(const TileKey& key, MapTilePtr tile) {
    remove(key);
    bytes_ += tile->bytes();
    recent_.push_front(key);
    tiles_[key] = {std::move(tile), recent_.begin()};
    while (bytes_ > budget_) remove(TileKey(recent_.back()));
  }

  void remove_run(uint64_t run) {
    for (auto at = recent_.begin(); at != recent_.end();) {
      const TileKey key = *at++;
      if (key.run == run) remove(key);
    }
  }

  size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    MapTilePtr tile;
    std::list<TileKey>::iterator place;
  };

  void remove(const TileKey& key) {
    const auto found = tiles_.find(key);
    if (found == tiles_.end()) return;
    bytes_ -= found->second.tile->bytes();
    recent_.erase(found->second.place);
    tiles_.erase(found);
  }

  size_t budget_, bytes_ = 0;
  std::map<TileKey, Entry> tiles_;
  std::list<TileKey> recent_;  ///< most recently used first
};

}  // namespace headscope
