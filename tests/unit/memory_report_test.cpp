// Bytes by purpose, and what the system says of the process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "core/data/growing_rows.h"
#include "core/data/memory_report.h"
#include "core/data/nvml.h"
#include "core/data/on_device.h"

namespace headscope {
namespace {

using ::testing::HasSubstr;
using enum MemoryPurpose;

TEST(MemoryCounts, AddUpToZeroFromManyThreads) {
  MemoryCounts counts;
  constexpr int threads = 4, rounds = 2000;
  std::vector<std::jthread> team;
  for (int i = 0; i < threads; ++i) {
    team.emplace_back([&counts, i] {
      for (int round = 0; round < rounds; ++round) {
        const CountedBytes mine(&counts, static_cast<MemoryPurpose>((i + round) % 4), 10 + i);
      }
    });
  }
  team.clear();
  for (const MemoryPurpose purpose : {kv, viewer, weights, scratch}) {
    EXPECT_EQ(counts.bytes(purpose), 0);
    EXPECT_GE(counts.peak_bytes(purpose), 10);
    EXPECT_LE(counts.peak_bytes(purpose), 10 + 11 + 12 + 13);
  }
}

TEST(CountingHost, KnowsWhatBuffersAndScratchAreFor) {
  const auto device = counting_host();
  const MemoryCounts& counts = *device->counts();
  EXPECT_EQ(host()->counts(), nullptr) << "all share it";
  EXPECT_FALSE(host()->memory().counted);
  {
    GrowingRows rows(std::make_shared<MemoryLedger>(device), kv, 10, 4);
    const float numbers[60] = {};
    rows.append(numbers, 4);
    EXPECT_EQ(counts.bytes(kv), 4 * 10 * 4);
    const RowsView held = rows.view();
    rows.append(numbers, 1);  // a larger buffer; the first one is kept by the view alone
    EXPECT_EQ(counts.bytes(kv), 6 * 10 * 4);
    EXPECT_EQ(counts.bytes(viewer), 4 * 10 * 4);
    const Workspace workspace(1000, *device);
    EXPECT_EQ(counts.bytes(scratch), 1000);
    const MemoryReport report = device->memory();
    EXPECT_TRUE(report.counted);
    EXPECT_EQ(report.device, "CPU");
    EXPECT_EQ(report.of(kv).bytes, 240);
    EXPECT_EQ(report.of(kv).peak_bytes, 240 + 160);
    EXPECT_EQ(report.tagged_bytes(), 240 + 160 + 1000);
    EXPECT_FALSE(report.device_total_bytes || report.kept_bytes);
  }
  const MemoryReport after = device->memory();
  EXPECT_EQ(after.tagged_bytes(), 0);
  EXPECT_EQ(after.of(scratch).peak_bytes, 1000);
}

TEST(CountingHost, TellsTheProcessesPages) {
  const int64_t before = counting_host()->memory().process_bytes.value_or(0);
  ASSERT_GT(before, 0);
  constexpr size_t bytes = size_t{32} << 20;
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  std::memset(memory, 1, bytes);
  const int64_t more = counting_host()->memory().process_bytes.value_or(0) - before;
  munmap(memory, bytes);
  EXPECT_NEAR(static_cast<double>(more), static_cast<double>(bytes), double{bytes} / 8);
}

class NvmlTest : public ::testing::Test {
 protected:
  ~NvmlTest() override { unsetenv("HEADSCOPE_NVML"); }
  static Nvml::Answer ask(const std::string& listed, int64_t pid) {
    setenv("HEADSCOPE_NVML", listed.c_str(), 1);
    return Nvml(HEADSCOPE_NVML_STAND_IN).process_bytes(pid);
  }
};

TEST_F(NvmlTest, SumsTheProcessOverGpus) {
  EXPECT_EQ(ask("77 5000000000 78 3", 77).bytes, 10'000'000'000) << "on both GPUs, the second with 41 processes";
  EXPECT_EQ(ask("77 5000000000 78 3", 78).bytes, 3);
}

TEST_F(NvmlTest, SaysWhyItDoesNotKnow) {
  const Nvml::Answer other = ask("77 5000000000", 1234);
  EXPECT_FALSE(other.bytes);
  EXPECT_THAT(other.refusal, HasSubstr("does not list this process"));
  EXPECT_FALSE(ask("77 18446744073709551615", 77).bytes) << "listed, but without a number";
  EXPECT_THAT(ask("refuses", 77).refusal, HasSubstr("error 9"));
  EXPECT_EQ(Nvml("libno-such-nvml.so").process_bytes(77).refusal, "libno-such-nvml.so is not there");
  EXPECT_THAT(Nvml("libm.so.6").process_bytes(77).refusal, HasSubstr("another version"));
}

}  // namespace
}  // namespace headscope
