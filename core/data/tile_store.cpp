#include "core/data/tile_store.h"

#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <system_error>

#include "core/base/error.h"
#include "core/data/lane.h"
#include "core/data/map_tiles.h"
#include "core/data/side_workers.h"
#include "core/data/tile_cache.h"
#include "core/data/tiles.h"
#include "kernels/thread_pool.h"

namespace headscope {
namespace {

constexpr int nice_steps = 5;  ///< tiles give way to the window

std::string job_name(const TileKey& key) {
  return fmt::format("{}/{}/{}/{}/{}/{}", key.run, key.layer, key.head, key.bin, key.row, key.column);
}

void check_region(const RunSnapshot& run, const MapRegion& region) {
  check_tile_query(
      run, {region.layer, region.head, region.row_begin, region.row_end, region.key_begin, region.key_end, region.bin});
  const auto bin = static_cast<uint64_t>(region.bin);
  if (!std::has_single_bit(bin) || region.row_begin % region.bin != 0 || region.key_begin % region.bin != 0) {
    fail(
        "tiles of maps have steps of 1, 2, 4, ... tokens and begin at whole steps, not at query {} and key {} in "
        "steps of {}",
        region.row_begin, region.key_begin, region.bin);
  }
  if (region.rows() > TileStore::most_cells / region.columns()) {
    fail("a map of {} x {} cells is too large to show; ask for larger steps than {} tokens", region.rows(),
         region.columns(), region.bin);
  }
}

/// The tiles that meet the region and are not all 0, nearest to its middle first.
std::vector<TileKey> tiles_of(const RunSnapshot& run, uint64_t run_id, const MapRegion& region) {
  const int64_t window = run.architecture->layers[static_cast<size_t>(region.layer)].window;
  const int64_t span = tile_cells * region.bin;
  std::vector<std::pair<double, TileKey>> found;
  const auto off = [span](int64_t tile, int64_t begin, int64_t end) {
    return (static_cast<double>(tile) + 0.5) * static_cast<double>(span) - static_cast<double>(begin + end) / 2;
  };
  for (int64_t row = region.row_begin / span; row * span < region.row_end; ++row) {
    for (int64_t column = region.key_begin / span; column * span < region.key_end; ++column) {
      const TileKey key{run_id, region.layer, region.head, region.bin, row, column};
      if (sees_nothing(key, window)) continue;
      const double down = off(row, region.row_begin, region.row_end);
      const double across = off(column, region.key_begin, region.key_end);
      found.emplace_back(down * down + across * across, key);
    }
  }
  std::sort(found.begin(), found.end());
  std::vector<TileKey> keys;
  keys.reserve(found.size());
  for (const auto& [distance, key] : found) keys.push_back(key);
  return keys;
}

std::string sentence_of(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) == nullptr) return error.what();
  return "There is not enough memory for it; close other programs, or run a shorter prompt.";
}

}  // namespace

class TileStore::Impl {
 public:
  Impl(int workers, size_t byte_budget, std::function<void()> changed)
      : budget_(byte_budget),
        changed_(std::move(changed)),
        cache_(byte_budget),
        lane_("tiles", [this, workers] { start_workers(workers); }) {}

  ComposedMap region(const std::shared_ptr<const RunSnapshot>& run, uint64_t run_id, const MapRegion& region,
                     int viewer_id) {
    check_region(*run, region);
    std::vector<TileSource> sources;
    uint64_t call = 0;
    bool failed = false;
    {
      const std::lock_guard lock(mutex_);
      Viewer& viewer = viewers_[viewer_id];
      if (viewer.shows(run_id, region, run->tokens())) return viewer.last;
      if (!viewer.asked(run_id, region, run->tokens())) viewer.failed.clear();
      viewer.run = run_id;
      viewer.region = region;
      viewer.tokens = run->tokens();
      viewer.fresh = true;
      viewer.call = call = ++calls_;
      viewer.last = {};
      const std::vector<TileKey> keys = tiles_of(*run, run_id, region);
      sources = take_sources(keys, run->tokens());
      want(viewer, viewer_id, run, sources);
      failed = !viewer.failed.empty();
    }
    Composition composed = compose_region(*run, region, sources);
    const std::lock_guard lock(mutex_);
    ComposedMap map{.cells = std::move(composed.cells),
                    .rows = region.rows(),
                    .columns = region.columns(),
                    .exact = composed.exact,
                    .failed = failed,
                    .version = ++versions_,
                    .kernel = composed.kernel};
    const auto viewer = viewers_.find(viewer_id);
    if (viewer != viewers_.end() && viewer->second.call == call) viewer->second.last = map;
    return map;
  }

  MapQueries queries(const std::shared_ptr<const RunSnapshot>& run, uint64_t run_id, int64_t layer, int64_t rows) {
    if (auto there = queries_at_hand(*run, layer, rows)) return {std::move(there)};
    const std::lock_guard lock(mutex_);
    const Asked asked{run_id, layer, run->tokens()};
    if (asked == asked_) return {.failed = asked_failed_};
    const std::string key = queries_job(asked);
    if (asked_.run != 0 && queries_job(asked_) != key) lane_.cancel(queries_job(asked_));
    asked_ = asked;
    asked_failed_ = false;
    lane_.submit(key, [this, asked, run](std::stop_token stop) { make_queries(asked, *run, std::move(stop)); });
    return {};
  }

  std::optional<TileFailure> take_failure() {
    const std::lock_guard lock(mutex_);
    return std::exchange(failure_, std::nullopt);
  }

  void forget(uint64_t run_id) {
    const std::lock_guard lock(mutex_);
    if (asked_.run == run_id) asked_ = {};
    if (failure_ && failure_->run == run_id) failure_.reset();
    cache_.remove_run(run_id);
    std::erase_if(wanted_, [run_id](const auto& entry) { return entry.first.run == run_id; });
    std::erase_if(viewers_, [run_id](const auto& entry) { return entry.second.run == run_id; });
    lane_.cancel_all(fmt::format("{}/", run_id));
  }

  bool idle() const { return lane_.idle(); }
  void drain() { lane_.drain(); }
  size_t bytes() const {
    const std::lock_guard lock(mutex_);
    return cache_.bytes();
  }

 private:
  struct Viewer {
    uint64_t run = 0;
    MapRegion region;
    int64_t tokens = 0;  ///< of the run when `last` was composed
    bool fresh = false;  ///< no tile of the head has arrived since
    uint64_t call = 0;   ///< which call made `last`
    ComposedMap last;    ///< no cells: none yet
    std::set<TileKey> wants;
    std::set<TileKey> failed;  ///< of this region and these tokens, not tried again

    bool asked(uint64_t run_id, const MapRegion& wanted, int64_t now) const {
      return run == run_id && region == wanted && tokens == now;
    }

    /// Rows of a run never change, so a region of exact whole cells stays right when the run grows.
    bool shows(uint64_t run_id, const MapRegion& wanted, int64_t now) const {
      if (!last.cells || run != run_id || region != wanted) return false;
      const bool whole = wanted.row_begin + wanted.rows() * wanted.bin <= std::min(tokens, now);
      return (fresh && tokens == now) || (last.exact && whole);
    }
  };

  /// Queries that are queued or in work, or that could not be made.
  struct Asked {
    uint64_t run = 0;  ///< 0: none
    int64_t layer = 0, tokens = 0;
    bool operator==(const Asked&) const = default;
  };

  /// A tile that is queued or in work.
  struct Wanted {
    int64_t length = 0;  ///< up to which query token
    int priority = 0;
    std::set<int> viewers;
  };

  void start_workers(int workers) {
    lower_thread_priority(nice_steps);
    try {
      workers_ = std::make_unique<ThreadPool>(workers);
    } catch (const std::system_error&) {
      workers_ = std::make_unique<SerialFor>();  // no more threads to be had: slower, but it works
    }
  }

  /// What is there for the tiles, which count as used: the nearest to the middle as the last.
  std::vector<TileSource> take_sources(const std::vector<TileKey>& keys, int64_t tokens) {
    std::vector<TileSource> sources(keys.size());
    for (size_t i = keys.size(); i-- > 0;) {
      TileSource& source = sources[i];
      source.key = keys[i];
      source.tile = cache_.use(keys[i]);
      if (covers(keys[i], source.tile.get(), tokens)) continue;
      for (TileKey key = keys[i]; key.span() < tokens;) {
        key = key.coarser();
        if (MapTilePtr tile = cache_.use(key)) source.coarser.emplace_back(key, std::move(tile));
      }
    }
    // Once more, so that no coarser tile stays longer than what was asked for.
    for (size_t i = keys.size(); i-- > 0;) cache_.use(keys[i]);
    return sources;
  }

  /// Queues what the viewer's sources lack and drops what it no longer wants.
  void want(Viewer& viewer, int viewer_id, const std::shared_ptr<const RunSnapshot>& run,
            const std::vector<TileSource>& sources) {
    constexpr size_t tile_bytes = sizeof(MapTile) + tile_cells * tile_cells * sizeof(float);
    const size_t share = budget_ / tile_bytes / viewers_.size();
    std::set<TileKey> wants;
    for (size_t i = 0; i < std::min(share, sources.size()); ++i) {
      const TileKey& key = sources[i].key;
      const int64_t length = key.row_end(run->tokens());
      if (sources[i].tile && sources[i].tile->length >= length) continue;
      if (viewer.failed.contains(key)) continue;
      wants.insert(key);
      queue(key, length, -static_cast<int>(i), viewer_id, run);
    }
    for (const TileKey& key : viewer.wants) {
      if (wants.contains(key)) continue;
      const auto found = wanted_.find(key);
      if (found == wanted_.end()) continue;
      found->second.viewers.erase(viewer_id);
      if (!found->second.viewers.empty()) continue;
      wanted_.erase(found);
      lane_.cancel(job_name(key));
    }
    viewer.wants = std::move(wants);
  }

  void queue(const TileKey& key, int64_t length, int priority, int viewer_id,
             const std::shared_ptr<const RunSnapshot>& run) {
    const auto [at, added] = wanted_.try_emplace(key);
    Wanted& wanted = at->second;
    wanted.viewers.insert(viewer_id);
    if (!added && wanted.length >= length && wanted.priority == priority) return;
    // An older snapshot of a second viewer must not take the place of a longer job.
    if (!added && wanted.length > length) return;
    wanted.length = length;
    wanted.priority = priority;
    lane_.submit(
        job_name(key), [this, key, length, run](std::stop_token stop) { compute(key, length, *run, stop); }, priority);
  }

  static std::string queries_job(const Asked& asked) { return fmt::format("{}/queries/{}", asked.run, asked.layer); }

  /// On the lane.
  void make_queries(const Asked& asked, const RunSnapshot& run, std::stop_token stop) {
    std::optional<TileFailure> failure;
    try {
      queries_of(run, asked.layer, std::move(stop));
    } catch (const Cancelled&) {
      return;  // nobody wants them any more
    } catch (const std::exception& error) {
      failure = TileFailure{asked.run, sentence_of(error)};
    }
    {
      const std::lock_guard lock(mutex_);
      if (asked_ != asked) return;
      asked_failed_ = failure.has_value();
      if (failure) failure_ = std::move(failure);
      if (!asked_failed_) asked_ = {};
    }
    if (changed_) changed_();
  }

  /// On the lane. Whoever cancels takes the tile out of `wanted_` itself, and it may be wanted again by now.
  void compute(const TileKey& key, int64_t length, const RunSnapshot& run, const std::stop_token& stop) {
    try {
      const SideWorkers workers(*workers_, run.store_of(key.layer).k.device());
      MapTilePtr tile;
      while (wants_more(key, length, tile)) {
        tile = extend_tile(run, key, tile.get(), workers, stop);
        if (!arrive(key, tile)) return;
        if (changed_) changed_();
      }
      const std::lock_guard lock(mutex_);
      remove_wanted(key, length);
    } catch (const Cancelled&) {
    } catch (const std::exception& error) {
      give_up(key, length, sentence_of(error));
      if (changed_) changed_();
    }
  }

  /// Returns who wanted it; nobody where a longer one is wanted by now.
  std::set<int> remove_wanted(const TileKey& key, int64_t length) {
    const auto found = wanted_.find(key);
    if (found == wanted_.end() || found->second.length > length) return {};
    return std::move(wanted_.extract(found).mapped().viewers);
  }

  /// The cells stay coarse.
  void give_up(const TileKey& key, int64_t length, std::string why) {
    const std::lock_guard lock(mutex_);
    for (const int viewer : remove_wanted(key, length)) viewers_[viewer].failed.insert(key);
    outdate(key);
    failure_ = {key.run, std::move(why)};
  }

  /// Whether the tile is still wanted and rows are missing; `tile` is what is there.
  bool wants_more(const TileKey& key, int64_t length, MapTilePtr& tile) {
    const std::lock_guard lock(mutex_);
    if (!wanted_.contains(key)) return false;
    tile = cache_.use(key);
    return !tile || tile->length < length;
  }

  /// False: nobody wants it any more.
  bool arrive(const TileKey& key, const MapTilePtr& tile) {
    const std::lock_guard lock(mutex_);
    if (!wanted_.contains(key)) return false;
    cache_.put(key, tile);
    outdate(key);
    return true;
  }

  /// Viewers of the tile's head compose their cells anew when they ask next.
  void outdate(const TileKey& key) {
    for (auto& [id, viewer] : viewers_) {
      const MapRegion& shown = viewer.region;
      if (viewer.run == key.run && shown.layer == key.layer && shown.head == key.head) viewer.fresh = false;
    }
  }

  const size_t budget_;
  const std::function<void()> changed_;
  mutable std::mutex mutex_;
  TileCache cache_;
  std::map<TileKey, Wanted> wanted_;
  std::map<int, Viewer> viewers_;
  Asked asked_;
  bool asked_failed_ = false;
  std::optional<TileFailure> failure_;
  uint64_t calls_ = 0, versions_ = 0;
  std::unique_ptr<ParallelFor> workers_;  ///< made and used on the lane
  Lane lane_;                             ///< last: its jobs use the rest
};

TileStore::TileStore(int workers, size_t byte_budget, std::function<void()> changed)
    : impl_(std::make_unique<Impl>(workers, byte_budget, std::move(changed))) {}

TileStore::~TileStore() = default;

MapQueries TileStore::queries(const std::shared_ptr<const RunSnapshot>& run, uint64_t run_id, int64_t layer,
                              int64_t rows) {
  return impl_->queries(run, run_id, layer, rows);
}

std::optional<TileFailure> TileStore::take_failure() { return impl_->take_failure(); }

ComposedMap TileStore::region(const std::shared_ptr<const RunSnapshot>& run, uint64_t run_id, const MapRegion& region,
                              int viewer) {
  return impl_->region(run, run_id, region, viewer);
}

bool TileStore::idle() const { return impl_->idle(); }

void TileStore::drain() { impl_->drain(); }

void TileStore::forget(uint64_t run_id) { impl_->forget(run_id); }

size_t TileStore::bytes() const { return impl_->bytes(); }

}  // namespace headscope
