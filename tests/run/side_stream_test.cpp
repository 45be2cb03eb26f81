// What is looked at while a model runs goes to a stream of its own: in its order, complete, and over when it returns.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.h"
#include "core/data/score.h"
#include "core/data/side_workers.h"
#include "core/data/tile_store.h"
#include "core/data/tiles.h"
#include "core/run/run.h"
#include "tests/run/random_model.h"
#include "tests/run/schemes.h"
#include "tests/support/elsewhere.h"

namespace headscope {
namespace {

using testing::Elsewhere;
using testing::LateStream;

const AttentionKernel& reference() { return attention_kernels().front(); }

std::shared_ptr<const Elsewhere> late_device() {
  static const AttentionKernel kernel = testing::late_tiles<reference>();
  return std::make_shared<const Elsewhere>(std::span(&kernel, 1));
}

/// A scheme with ALiBi's terms and one that rotates keys when it reads them have memory of their own beside Q and K.
class SideStream : public ::testing::TestWithParam<SharingScheme> {
 protected:
  std::shared_ptr<const RunSnapshot> snapshot(int64_t tokens) {
    run_.emplace(random_model(architecture_, 1, device_), RunOptions{});
    run_->extend(random_ids(architecture_, tokens));
    return std::make_shared<const RunSnapshot>(run_->snapshot());
  }

  const Architecture architecture_ = architecture_of(GetParam(), Windows::none);
  const std::shared_ptr<const Elsewhere> device_ = late_device();
  const SerialFor serial_;
  std::optional<headscope::Run> run_;
};

TEST_P(SideStream, TilesAreThoseOfTheHost) {
  const auto there = snapshot(40);
  const RunSnapshot here = there->on_host();
  EXPECT_EQ(device_->side().given(), 0) << "the model ran on the default stream";
  const TileQuery query{1, 2, 3, 40, 0, 38, 2};
  const auto expected = compute_tile(here, query, SerialFor(), {}, &reference()).cells;
  EXPECT_EQ(compute_tile(*there, query, SideWorkers(serial_, *device_)).cells, expected);
  EXPECT_GT(device_->side().given(), 3) << "copies, the kernel, and what was released";
  EXPECT_TRUE(device_->side().idle());
  EXPECT_EQ(device_->broken_rules(), 0);
}

TEST_P(SideStream, AStopLeavesNothingThatReadsTheRun) {
  auto there = snapshot(40);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THROW(compute_tile(*there, {1, 2, 0, 40, 0, 40}, SideWorkers(serial_, *device_), stop.get_token()), Cancelled);
  EXPECT_TRUE(device_->side().idle());
  there.reset();
  run_.reset();
  EXPECT_EQ(device_->broken_rules(), 0);
}

TEST_P(SideStream, TheStoreTakesIt) {
  const auto there = snapshot(40);
  const RunSnapshot here = there->on_host();
  TileStore store(1, size_t{16} << 20, {});
  const MapRegion region{1, 2, 0, 40, 0, 40, 1};
  store.region(there, 1, region);
  store.drain();
  const ComposedMap map = store.region(there, 1, region);
  EXPECT_TRUE(map.exact);
  EXPECT_EQ(*map.cells, compute_tile(here, {1, 2, 0, 40, 0, 40}, SerialFor(), {}, &reference()).cells);
  EXPECT_TRUE(device_->side().idle());
  EXPECT_EQ(device_->broken_rules(), 0);
}

TEST_P(SideStream, OneWeightComesByItToo) {
  const auto there = snapshot(20);
  const RunSnapshot here = there->on_host();
  const int before = device_->side().given();
  const ScoredWeight from_there = score_and_weight(*there, 1, 2, 15, 9),
                     from_here = score_and_weight(here, 1, 2, 15, 9);
  EXPECT_EQ(from_there.score, from_here.score);
  EXPECT_EQ(from_there.weight, from_here.weight);
  EXPECT_EQ(device_->side().given(), before + 2) << "one query, one key";
}

std::vector<SharingScheme> some_schemes() {
  std::vector<SharingScheme> some;
  for (const SharingScheme& scheme : sharing_schemes()) {
    if (scheme.name == "Gqa2" || scheme.name == "MqaAlibi" || scheme.name == "SharedKvMha") some.push_back(scheme);
  }
  return some;
}
INSTANTIATE_TEST_SUITE_P(Run, SideStream, ::testing::ValuesIn(some_schemes()),
                         [](const auto& scheme) { return scheme.param.name; });

TEST(SideStreamRules, AreSeenWhereTheyAreBroken) {
  const auto device = late_device();
  void* const side = device->side_stream();
  std::byte* const mine = device->allocate(64, nullptr);
  std::byte* const other = device->allocate(64, side);
  device->copy(other, mine, 64, side);
  device->release(mine, 64);  // while the side stream reads it
  EXPECT_EQ(device->broken_rules(), 1);
  std::byte* const another = device->allocate(64, nullptr);
  device->copy(another, other, 64, nullptr);  // before it is there
  EXPECT_EQ(device->broken_rules(), 2);
  device->wait(side);
  device->release(another, 64);
  EXPECT_EQ(device->broken_rules(), 2);
  device->release(other, 64);
}

/// A pass that is stopped may leave rows on their way into a larger buffer.
TEST(Snapshot, WaitsForTheDevice) {
  class Counting final : public Device {
   public:
    std::string_view name() const override { return "counting"; }
    bool is_host() const override { return true; }
    bool on_gpu() const override { return false; }
    std::byte* allocate(size_t bytes, void* stream) const override { return host()->allocate(bytes, stream); }
    void release(std::byte* memory, size_t bytes) const noexcept override { host()->release(memory, bytes); }
    void copy(void* to, const void* from, size_t bytes, void* stream) const override {
      host()->copy(to, from, bytes, stream);
    }
    void wait(void* stream) const override { waits += stream == nullptr ? 1 : 0; }
    std::span<const AttentionKernel> kernels() const override { return host()->kernels(); }
    mutable int waits = 0;
  };
  const auto device = std::make_shared<const Counting>();
  headscope::Run run(random_model(small_architecture(), 1, device), {});
  run.extend(random_ids(small_architecture(), 5));
  EXPECT_EQ(device->waits, 0) << "nobody looks";
  run.snapshot();
  EXPECT_EQ(device->waits, 1);
}

}  // namespace
}  // namespace headscope
