// What test_gpu copies to a GPU and back, checked with memory that only looks like one's.
#include "tests/kernels/staging.h"

#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>

#include <numeric>

#include "kernels/cuda/attention.h"
#include "tests/kernels/divergence_case.h"
#include "tests/kernels/map_case.h"
#include "tests/kernels/staged_kernel.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

using ::testing::ElementsAre;

// ---- extents

TEST(Extent, OfPackedRowsIsAllOfThem) {
  const ViewShape packed{2, 3, 4, 5, 60, 20, 5, 4};
  EXPECT_EQ(extent_of(packed), 2 * 3 * 4 * 5 * 4u);
  EXPECT_THAT(row_ranges(packed), ElementsAre(ByteRange{0, 480}));
  EXPECT_THAT(ranges_to_copy(packed), ElementsAre(ByteRange{0, 480}));
}

TEST(Extent, TakesInWhatLiesBetweenRowsButNothingBehindTheLast) {
  const ViewShape gaps{1, 2, 3, 5, 100, 8, 20, 2};
  EXPECT_EQ(extent_of(gaps), (8 + 2 * 20 + 5) * 2u);
  EXPECT_EQ(row_ranges(gaps).size(), 6u);
  EXPECT_EQ(row_ranges(gaps).back(), (ByteRange{96, 106}));
  EXPECT_THAT(ranges_to_copy(gaps), ElementsAre(ByteRange{0, 106}));
}

TEST(Extent, OfOverlappingRowsCountsThemOnce) {
  EXPECT_EQ(extent_of({3, 2, 4, 8, 0, 0, 8, 4}), 4 * 8 * 4u);
  EXPECT_THAT(row_ranges({1, 1, 3, 8, 0, 0, 4, 4}), ElementsAre(ByteRange{0, 64}));
}

TEST(Extent, OfNothingIsNothing) {
  for (const ViewShape& empty :
       {ViewShape{0, 1, 1, 1}, ViewShape{1, 0, 1, 1}, ViewShape{1, 1, 0, 1}, ViewShape{1, 1, 1, 0}}) {
    EXPECT_EQ(extent_of(empty), 0u);
    EXPECT_THAT(ranges_to_copy(empty), ElementsAre());
  }
}

TEST(Extent, OfRowsVeryFarApartIsCopiedRowByRow) {
  constexpr int64_t stride = (int64_t{1} << 31) + 5;
  const ViewShape apart{1, 1, 40, 20, 0, 0, stride, 4};
  EXPECT_EQ(extent_of(apart), static_cast<size_t>((39 * stride + 20) * 4));
  const std::vector<ByteRange> rows = ranges_to_copy(apart);
  ASSERT_EQ(rows.size(), 40u);
  EXPECT_EQ(rows[39].begin, static_cast<size_t>(39 * stride * 4));
  EXPECT_EQ(rows[39].size(), 80u);
}

TEST(Extent, OfStridesBelowZeroBeginsBelowThePointer) {
  const ViewShape backward{2, 3, 4, 5, 100, -20, 5, 4};
  EXPECT_EQ(extent_of(backward), (100 + 2 * 20 + 15 + 5) * 4u);
  EXPECT_EQ(start_of(backward), 2 * 20 * 4u);
  EXPECT_THAT(row_ranges(backward), ElementsAre(ByteRange{0, 240}, ByteRange{400, 640}));
  EXPECT_EQ(start_of({2, 3, 4, 5, 100, 20, 5, 4}), 0u);
}

// ---- one call

class Stage : public ::testing::Test {
 protected:
  const std::unique_ptr<const DeviceMemory> memory_ = host_memory();
  alignas(64) std::array<float, 64> in_{}, out_{};

  /// Stages four floats of each array from index 1 on, and lets `kernel` loose on the copies.
  template <class Kernel>
  void run(const Kernel& kernel) {
    const float* in = in_.data() + 1;
    float* out = out_.data() + 1;
    Staging staging(*memory_);
    staging.input("in", in, 4 * sizeof(float));
    staging.output("out", out, 4 * sizeof(float));
    staging.send();
    EXPECT_NE(in, in_.data() + 1);
    kernel(in, out);
    staging.fetch();
  }
};

TEST_F(Stage, BringsBackWhatIsWrittenAndLeavesTheRest) {
  std::iota(in_.begin(), in_.end(), 0.0F);
  out_.fill(7);
  run([](const float* in, float* out) {
    out[0] = in[3];
    out[2] += in[0];
  });
  EXPECT_EQ(out_[1], 4);
  EXPECT_EQ(out_[2], 7);
  EXPECT_EQ(out_[3], 8);
  EXPECT_EQ(out_[0] + out_[5], 14);
}

TEST_F(Stage, KeepsThePlaceWithin64Bytes) {
  run([&](const float* in, const float* out) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(in) % 64, 4u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(out) % 64, 4u);
  });
}

TEST_F(Stage, SurroundsArraysWithNaN) {
  run([](const float* in, const float* out) {
    EXPECT_TRUE(std::isnan(in[-1]) && std::isnan(in[4]) && std::isnan(out[-1]) && std::isnan(out[4]));
  });
}

TEST_F(Stage, NoticesWritesBesideAnArray) {
  constexpr int band = Staging::guard_bytes / sizeof(float);
  for (const int at : {-1, -band, 4, 4 + band - 1}) {
    EXPECT_NONFATAL_FAILURE(run([at](const float*, float* out) { out[at] = 1; }), "wrote beside out");
    EXPECT_NONFATAL_FAILURE(run([at](const float* in, float*) { const_cast<float*>(in)[at] = 1; }), "wrote beside in");
  }
}

TEST_F(Stage, NoticesWritesIntoAnInput) {
  EXPECT_NONFATAL_FAILURE(run([](const float* in, float*) { const_cast<float*>(in)[2] = 1; }),
                          "wrote into the input in");
}

TEST_F(Stage, InputsOfOneAddressStayOfOneAddress) {
  const float *longer = in_.data(), *shorter = in_.data();
  in_[9] = 5;
  Staging staging(*memory_);
  staging.input("shorter", shorter, 4 * sizeof(float));
  staging.input("longer", longer, 10 * sizeof(float));
  staging.send();
  EXPECT_EQ(shorter, longer);
  EXPECT_NE(longer, in_.data());
  EXPECT_EQ(longer[9], 5);
  staging.fetch();
}

TEST_F(Stage, APointerAboveItsArrayStaysThere) {
  const void* row = in_.data() + 8;
  in_[0] = 3;
  in_[8] = 4;
  Staging staging(*memory_);
  staging.input("backward", row, ViewShape{1, 3, 1, 4, 0, -4, 4, 4});
  staging.send();
  EXPECT_EQ(static_cast<const float*>(row)[0], 4);
  EXPECT_EQ(static_cast<const float*>(row)[-8], 3);
  staging.fetch();
}

TEST_F(Stage, LeavesNullAlone) {
  Staging staging(*memory_);
  float* none = nullptr;
  staging.output("none", none, 400);
  staging.send();
  EXPECT_EQ(none, nullptr);
  staging.fetch();
}

// ---- kernels behind it

struct Broken : DeviceMemory {
  std::shared_ptr<std::byte> allocate(size_t, std::span<const ByteRange>) const override {
    throw std::runtime_error("cudaMalloc: out of memory");
  }
  void to_device(std::byte*, const std::byte*, size_t) const override {}
  void from_device(std::byte*, const std::byte*, size_t) const override {}
  void finish() const override {}
};

const StagedTarget& broken_target() {
  static const Broken memory;
  static const StagedTarget target{reference_kernel(), memory};
  return target;
}

TEST(StagedKernel, PassesErrorsOfTheDeviceOn) {
  EXPECT_THAT([] { run_forward(staged_kernel<broken_target>(), AttentionCase(grouped_spec(3, 3)), SerialFor()); },
              ::testing::ThrowsMessage<std::runtime_error>(::testing::HasSubstr("out of memory")));
}

/// Writes one number too many, through whatever pointers it is given.
const StagedTarget& careless_target() {
  static const std::unique_ptr<const DeviceMemory> memory = host_memory();
  static const StagedTarget target = [] {
    AttentionKernel careless = reference_kernel();
    careless.forward = [](const AttentionProblem& p, const AttentionOutput& o, std::span<std::byte>,
                          const ParallelFor&) { o.row_max[p.batch * p.q_heads * p.q_len] = 0; };
    return StagedTarget{careless, *memory};
  }();
  return target;
}

TEST(StagedKernel, NoticesOneThatWritesTooMuch) {
  EXPECT_NONFATAL_FAILURE(run_forward(staged_kernel<careless_target>(), AttentionCase(grouped_spec(3, 3)), SerialFor()),
                          "wrote beside row_max");
}

const StagedTarget& emulated_target() {
  static const std::unique_ptr<const DeviceMemory> memory = host_memory();
  static const StagedTarget target{cuda::attention_kernel("cuda/emulated"), *memory};
  return target;
}

/// As test_gpu has it, but for the GPU.
TEST(StagedKernel, OfTheEmulatorGivesTheSameBits) {
  const AttentionKernel direct = emulated_target().kernel, staged = staged_kernel<emulated_target>();
  for (const Element element : {Element::f32, Element::bf16}) {
    CaseSpec spec = grouped_spec(20, 40);
    spec.memory = Memory::interleaved;
    spec.element = element;
    const AttentionCase c(spec);
    const Results expected = run_forward(direct, c, SerialFor()), actual = run_forward(staged, c, SerialFor());
    for (const NamedArray& array : result_arrays()) {
      EXPECT_TRUE(same_bits(actual.*array.array, expected.*array.array)) << array.name;
    }
    const TileRequest request{0, 3, 2, 20, 1, 39, 3, Pooling::mean};
    EXPECT_TRUE(same_bits(run_tile(staged, c.problem, expected, request, SerialFor()),
                          run_tile(direct, c.problem, expected, request, SerialFor())));
    const MapResults maps = run_map_statistics(direct, c.problem, expected, {8, 5}, SerialFor());
    const MapResults through = run_map_statistics(staged, c.problem, expected, {8, 5}, SerialFor());
    for (const NamedMapArray& named : map_arrays()) {
      EXPECT_TRUE(same_bits(through.*named.array, maps.*named.array)) << named.name;
    }
    const DivergenceRequest pairs = divergence_request(c.problem, DivergenceEstimator::exact);
    EXPECT_TRUE(same_bits(run_divergence(staged, c.problem, expected, pairs, SerialFor()).value,
                          run_divergence(direct, c.problem, expected, pairs, SerialFor()).value));
  }
}

}  // namespace
}  // namespace headscope::testing
