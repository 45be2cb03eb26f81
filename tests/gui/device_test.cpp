// What the window says of device, memory and kernels: the texts, of a CPU and of a GPU that no test has.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <new>

#include "app/gui/app/app.h"
#include "app/gui/app/device_readout.h"

namespace headscope::gui {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> names(const std::vector<ReadoutRow>& rows) {
  std::vector<std::string> out;
  for (const ReadoutRow& row : rows) out.push_back(row.name);
  return out;
}

const ReadoutRow& row(const std::vector<ReadoutRow>& rows, std::string_view name) {
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const ReadoutRow& one) { return one.name == name; });
  if (found == rows.end()) throw std::runtime_error("no row " + std::string(name));
  return *found;
}

MemoryReport counted() {
  MemoryReport report;
  report.counted = true;
  report.tagged[static_cast<size_t>(MemoryPurpose::weights)] = {int64_t{2} << 30, int64_t{2} << 30};
  report.tagged[static_cast<size_t>(MemoryPurpose::kv)] = {int64_t{512} << 20, int64_t{768} << 20};
  report.tagged[static_cast<size_t>(MemoryPurpose::viewer)] = {int64_t{256} << 20, int64_t{256} << 20};
  report.tagged[static_cast<size_t>(MemoryPurpose::scratch)] = {0, int64_t{128} << 20};
  return report;
}

/// An H200 whose driver counts more than was asked for.
MemoryReport gpu() {
  MemoryReport report = counted();
  report.untagged_bytes = int64_t{64} << 20;
  report.kept_bytes = int64_t{320} << 20;
  report.process_bytes = int64_t{4} << 30;
  report.device_used_bytes = int64_t{31} << 30;
  report.device_total_bytes = int64_t{140} << 30;
  return report;
}

RunSnapshot run_by(const std::string& kernel) {
  RunSnapshot run;
  run.kernel = kernel;
  run.linear = "libtorch";
  run.dtype = "bf16";
  run.threads = 8;
  return run;
}

TEST(DeviceReadout, NamesTheGpuAndItsKernels) {
  const MemoryReport memory = gpu();
  const RunSnapshot run = run_by("cuda");
  const DeviceReadout readout = device_readout(
      {.title = "NVIDIA H200", .is_host = false, .reason = "", .memory = &memory, .run = &run, .map_kernel = "cuda"});
  EXPECT_EQ(readout.computes, "NVIDIA H200  cuda");
  EXPECT_EQ(readout.holds, "2.75 GiB of 4.00 GiB");
  EXPECT_EQ(readout.held, "2.75 GiB for weights, caches, runs and scratch; this process has 4.00 GiB.");
  EXPECT_EQ(readout.reason, "");
  EXPECT_THAT(names(readout.work), ElementsAre("device", "attention", "map", "linear layers", "numbers"));
  EXPECT_EQ(row(readout.work, "attention").value, "cuda");
  EXPECT_EQ(row(readout.work, "linear layers").value, "libtorch");
}

TEST(DeviceReadout, HasTheDriversFiguresBesideWhatWasCounted) {
  const MemoryReport memory = gpu();
  const auto rows = device_readout({.title = "NVIDIA H200", .is_host = false, .memory = &memory}).memory;
  EXPECT_THAT(names(rows), ElementsAre("weights", "KV cache", "run", "scratch", "all of these", "layers", "kept free",
                                       "this process", "whole GPU", "GPU has"));
  EXPECT_EQ(row(rows, "weights").value, "2.00 GiB");
  EXPECT_EQ(row(rows, "KV cache").value, "512 MiB");
  EXPECT_EQ(row(rows, "KV cache").most, "768 MiB");
  EXPECT_EQ(row(rows, "scratch").value, "0 B");
  EXPECT_EQ(row(rows, "all of these").value, "2.75 GiB");
  EXPECT_EQ(row(rows, "kept free").value, "320 MiB");
  EXPECT_EQ(row(rows, "whole GPU").value, "31.0 GiB");
  EXPECT_EQ(row(rows, "GPU has").value, "140 GiB");
  for (const ReadoutRow& one : rows) EXPECT_GT(one.meaning.size(), 10u) << one.name;
}

TEST(DeviceReadout, SaysWhatIsNotKnown) {
  MemoryReport memory = gpu();
  memory.process_bytes = std::nullopt;
  memory.process_refusal = "the driver does not list this process, as in some containers";
  const DeviceReadout readout = device_readout({.title = "NVIDIA H200", .is_host = false, .memory = &memory});
  EXPECT_EQ(row(readout.memory, "this process").value, "not known");
  EXPECT_EQ(row(readout.memory, "this process").meaning, memory.process_refusal);
  EXPECT_EQ(readout.holds, "2.75 GiB of 31.0 GiB");
  EXPECT_THAT(readout.held, HasSubstr("; all programs on the GPU have 31.0 GiB."));
  EXPECT_EQ(readout.computes, "NVIDIA H200") << "nothing has been run";
  EXPECT_THAT(names(readout.work), ElementsAre("device"));
  const DeviceReadout before = device_readout({.title = "NVIDIA H200", .is_host = false});
  EXPECT_TRUE(before.memory.empty() && before.holds.empty() && before.held.empty());
}

TEST(DeviceReadout, OfTheCpuHasThreadsAndWhyItIsNoGpu) {
  MemoryReport memory = counted();
  memory.process_bytes = int64_t{3} << 30;
  RunSnapshot run = run_by("cpu/AVX3, reference");
  const DeviceFacts facts{.title = "CPU",
                          .reason = "\"Tesla T4\" is too old: it has compute capability 7.5, and 8.0 is needed",
                          .memory = &memory,
                          .run = &run};
  const DeviceReadout readout = device_readout(facts);
  EXPECT_EQ(readout.computes, "cpu/AVX3, reference  8 threads");
  EXPECT_EQ(readout.holds, "2.75 GiB of 3.00 GiB");
  EXPECT_EQ(readout.reason,
            "No GPU is used: \"Tesla T4\" is too old: it has compute capability 7.5, and 8.0 is needed.");
  EXPECT_EQ(row(readout.work, "threads").value, "8");
  EXPECT_THAT(names(readout.memory),
              ElementsAre("weights", "KV cache", "run", "scratch", "all of these", "this process"));
  EXPECT_EQ(device_readout({.title = "CPU", .memory = &memory, .run = &run, .map_kernel = "cpu/AVX3"}).computes,
            "cpu/AVX3  8 threads")
      << "the one that computed the map that is shown";
}

/// The host, whose memory can be made full.
class FullHost final : public Device {
 public:
  std::string_view name() const override { return "cpu"; }
  bool is_host() const override { return true; }
  bool on_gpu() const override { return false; }
  std::byte* allocate(size_t bytes, void* stream) const override {
    if (full) throw std::bad_alloc();
    return host()->allocate(bytes, stream);
  }
  void release(std::byte* memory, size_t bytes) const noexcept override { host()->release(memory, bytes); }
  void copy(void* to, const void* from, size_t bytes, void*) const override { std::memcpy(to, from, bytes); }
  void wait(void*) const override {}
  std::span<const AttentionKernel> kernels() const override { return host()->kernels(); }

  mutable std::atomic<bool> full = false;
};

/// Queries that the run does not keep cannot be made again: a message, and no second try while the map is looked at.
TEST(AppMap, SaysWhyItStaysCoarse) {
  const auto folder = std::filesystem::path(HEADSCOPE_REAL_DATA) / "stories260K";
  if (!exists(folder)) GTEST_SKIP() << folder << " is not there";
  const auto device = std::make_shared<const FullHost>();
  App::Options options;
  options.threads = 1;
  options.device = device;
  options.query_bytes = 0;
  options.wake = [] {};
  App app(options);
  app.open(ModelSlot::a, folder);
  while (!app.idle()) app.update();
  ASSERT_TRUE(app.data().run);
  ASSERT_TRUE(app.data().plates.empty());
  device->full = true;
  const MapRegion region{1, 0, 0, app.data().tokens(), 0, app.data().tokens()};
  for (int frame = 0; frame < 3; ++frame) {
    app.tiles().region(app.data().run->snapshot, app.data().run->id, region);
    app.tiles().drain();
    EXPECT_EQ(app.update(), frame == 0);
  }
  ASSERT_EQ(app.data().plates.size(), 1U);
  EXPECT_EQ(app.data().plates[0].title, "Exact weights could not be computed");
  EXPECT_THAT(app.data().plates[0].sentence, HasSubstr("not enough memory"));
}

TEST(AppMemory, IsThereFromTheStart) {
  std::atomic<int> woken = 0;
  const auto wake = [&] {
    ++woken;
    woken.notify_all();
  };
  App app({.threads = 1, .device_reason = "there is no GPU", .wake = wake});
  while (!app.memory()) {
    woken.wait(0);
    app.update();
  }
  EXPECT_TRUE(app.memory()->counted);
  EXPECT_EQ(app.memory()->tagged_bytes(), 0);
  EXPECT_GT(app.memory()->process_bytes.value_or(0), 1 << 20);
  const Json json = summary(app);
  EXPECT_EQ(json["device"]["name"], "cpu");
  EXPECT_EQ(json["device"]["reason"], "there is no GPU");
  EXPECT_EQ(json["memory"]["weights"], 0);
  EXPECT_TRUE(json["memory"]["device_used"].is_null());
}

}  // namespace
}  // namespace headscope::gui
