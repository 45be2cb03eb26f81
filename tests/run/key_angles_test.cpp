// Keys that layers rotate when they read them: as if they had been stored rotated, and where they lie.
#include <gtest/gtest.h>

#include <set>

#include "core/data/tiles.h"
#include "core/run/read_cache.h"
#include "core/run/run.h"
#include "tests/run/random_model.h"

namespace headscope {
namespace {

using OneRun = headscope::Run;  // in a test, Run is a member of its class

Architecture rotated_on_read(Architecture a, Stored stored) {
  for (Layer& layer : a.layers) layer.rotate_on_read = true;
  for (KvStore& store : a.kv_stores) {
    store.stored = stored;
    store.keys_rotated = false;
  }
  return a;
}

/// Three layers, the last of another rope.
Architecture two_ropes() {
  Architecture a = small_architecture();
  a.layers[2].rope = Rope{RotationStyle::interleaved, 4, 77, {}};
  return a;
}

/// 20 tokens at once, then one by one.
OneRun fed(const Architecture& a, int64_t tokens) {
  RunOptions options;
  options.logits = LogitsWanted::all();
  OneRun run(random_model(a), options);
  const auto ids = random_ids(a, tokens);
  run.extend(std::span(ids).first(20));
  for (size_t i = 20; i < ids.size(); ++i) run.extend(std::span(ids).subspan(i, 1));
  return run;
}

std::vector<float> all_of(const RowsView& rows) { return {rows.row(0), rows.row(0) + rows.rows * rows.width()}; }

TEST(KeyAnglesOfRuns, GiveTheBitsOfKeysThatAreStoredRotated) {
  Architecture stored = two_ropes();
  stored.position.rope.scaling = {.kind = RopeScaling::Kind::yarn, .factor = 4, .original_context = 16};
  stored.position.rope.scaling.attention_factor = 1.25;
  const OneRun before = fed(stored, 60), read = fed(rotated_on_read(stored, Stored::keys_and_values), 60);
  EXPECT_EQ(all_of(read.logits()), all_of(before.logits()));
  const RunSnapshot expected = before.snapshot(), found = read.snapshot();
  for (int64_t layer = 0; layer < 3; ++layer) {
    const TileQuery map{layer, 1, 0, 60, 0, 60};
    EXPECT_EQ(compute_tile(found, map, SerialFor()).cells, compute_tile(expected, map, SerialFor()).cells);
    EXPECT_EQ(expected.layers[static_cast<size_t>(layer)].key_angles, nullptr);
  }
}

TEST(KeyAnglesOfRuns, AreSharedByLayersOfEqualRopeAndGrow) {
  const Architecture a = rotated_on_read(two_ropes(), Stored::values_only);
  const auto ids = random_ids(a, 70);
  OneRun run(random_model(a), {});
  run.extend(std::span(ids).first(20));
  const RunSnapshot early = run.snapshot();
  const Tile map = compute_tile(early, {1, 0, 0, 20, 0, 20}, SerialFor());
  std::set<const KeyAngles*> tables;
  for (size_t i = 20; i < ids.size(); ++i) {
    run.extend(std::span(ids).subspan(i, 1));
    const RunSnapshot now = run.snapshot();
    ASSERT_EQ(now.layers[0].key_angles, now.layers[1].key_angles);
    ASSERT_NE(now.layers[0].key_angles, now.layers[2].key_angles);
    ASSERT_GE(now.layers[0].key_angles->positions(), now.tokens());
    ASSERT_GE(now.layers[2].key_angles->positions(), now.tokens());
    tables.insert(now.layers[0].key_angles.get());
  }
  EXPECT_LE(tables.size(), 4U) << "20, 30, 45, 67, 100: not one for each token";
  EXPECT_EQ(compute_tile(early, {1, 0, 0, 20, 0, 20}, SerialFor()).cells, map.cells) << "a snapshot keeps its own";
}

TEST(KeyAnglesOfRuns, ASnapshotWithoutThemHasNoMap) {
  const Architecture a = rotated_on_read(small_architecture(), Stored::values_only);
  RunSnapshot snapshot = fed(a, 30).snapshot();
  snapshot.layers[1].key_angles = nullptr;
  EXPECT_THROW(compute_tile(snapshot, {1, 0, 0, 30, 0, 30}, SerialFor()), std::logic_error);
}

TEST(ReadCache, ReadsRowsWhereTheyLie) {
  const Architecture a = rotated_on_read(small_architecture(), Stored::values_only);
  const auto model = random_model(a);
  KvCache cache(a, std::make_shared<MemoryLedger>(), {});
  KvCache::Store& store = cache.store_of(0);
  const std::vector<float> row(static_cast<size_t>(a.kv_stores[0].kv_heads * a.kv_stores[0].value_dim), 1.0F);
  for (int i = 0; i < 30; ++i) store.v.append(row.data(), 1);
  const KeyAngles angles(RopeTable(a, 0), 30, SerialFor());
  AttentionProblem problem;
  ReadCache(a, model->weights(), 0, CachedRows(store), 0, 30, &angles).add_to(problem);
  EXPECT_EQ(problem.k.data, store.v.rows().data);
  EXPECT_EQ(problem.v.data, store.v.rows().data);
  EXPECT_EQ(problem.key_rotation.cosines, angles.rotation().cosines);
}

}  // namespace
}  // namespace headscope
