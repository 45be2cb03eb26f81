// Models and runs whose memory is not the host's: the same logits, statistics, tiles and bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>

#include "core/base/error.h"
#include "core/data/tiles.h"
#include "core/model/torch_errors.h"
#include "core/run/decoder.h"
#include "kernels/cuda/attention.h"
#include "tests/run/fed_runs.h"
#include "tests/run/random_model.h"
#include "tests/support/elsewhere.h"

namespace headscope {
namespace {

using testing::Elsewhere;

std::shared_ptr<const Device> with_cpu_kernels() { return std::make_shared<Elsewhere>(attention_kernels()); }

/// CUDA's, on the emulator.
std::shared_ptr<const Device> with_cuda_kernels() {
  static const AttentionKernel kernel = cuda::attention_kernel("cuda/emulated");
  return std::make_shared<Elsewhere>(std::span(&kernel, 1));
}

class DeviceSchemes : public ::testing::TestWithParam<SharingScheme> {};

TEST_P(DeviceSchemes, GiveWhatTheHostGives) {
  const SharingScheme& scheme = GetParam();
  use_threads(1);
  for (const Windows windows : {Windows::none, Windows::sliding}) {
    SCOPED_TRACE(windows == Windows::none ? "no windows" : "sliding windows");
    const Architecture architecture = architecture_of(scheme, windows);
    const Plan plan{{29, 1, 1, 1, 32}, false};
    const Fed here(random_model(architecture), plan), there(random_model(architecture, 1, with_cpu_kernels()), plan);
    EXPECT_EQ(there.snapshot.device, "elsewhere");
    compare(here, there, scheme, 4e-5);
    EXPECT_EQ(there.snapshot.kv_allocated_bytes(), here.snapshot.kv_allocated_bytes());
  }
}

/// Logits, statistics and maps of every way of sharing, by the CUDA kernels: prompts, and tokens one by one.
TEST_P(DeviceSchemes, GiveTheSameByCudaKernels) {
  const SharingScheme& scheme = GetParam();
  use_threads(1);
  const Architecture architecture = architecture_of(scheme, Windows::sliding);
  const Plan plan{{61, 1, 1, 1}, false};
  const Fed here(random_model(architecture), plan), there(random_model(architecture, 1, with_cuda_kernels()), plan);
  EXPECT_EQ(there.snapshot.kernel, "cuda/emulated");
  compare(here, there, scheme, 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Run, DeviceSchemes, ::testing::ValuesIn(sharing_schemes()),
                         [](const auto& scheme) { return scheme.param.name; });

TEST(DeviceRows, AreReadFromCopies) {
  headscope::Run run(random_model(small_architecture(), 1, with_cpu_kernels()), {});
  run.extend(random_ids(small_architecture(), 9));
  const RunSnapshot snapshot = run.snapshot();
  const RowsView& keys = snapshot.stores[0].k;
  EXPECT_THROW(keys.row(0), std::logic_error);
  EXPECT_THROW(keys.at(0, 0), std::logic_error);
  const RowsView copied = keys.on_host(3, 4);
  EXPECT_EQ(copied.rows, 4);
  EXPECT_EQ(copied.row(0)[2], keys.on_host(0, keys.rows).row(3)[2]);
}

TEST(DeviceRows, OfAWholeRunComeToTheHost) {
  for (const SharingScheme& scheme : sharing_schemes()) {  // some rotate keys when they read them
    SCOPED_TRACE(scheme.name);
    const Architecture architecture = architecture_of(scheme, Windows::none);
    headscope::Run run(random_model(architecture, 1, with_cpu_kernels()), {});
    run.extend(random_ids(architecture, 20));
    const RunSnapshot there = run.snapshot(), here = there.on_host();
    const TileQuery query{1, 2, 0, 20, 0, 20};
    const auto of_reference = compute_tile(here, query, SerialFor(), {}, &attention_kernels().front()).cells;
    const auto of_device = compute_tile(there, query, SerialFor()).cells;
    for (size_t i = 0; i < of_device.size(); ++i) EXPECT_NEAR(of_device[i], of_reference[i], 1e-5) << i;
  }
}

TEST(TorchErrors, OfAGpuAreSentences) {
  const auto sentence = [](const std::string& message) -> std::string {
    try {
      throw_torch_error(message);
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_THAT(sentence("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 139.72 GiB of "
                       "which 3.17 GiB is free. Process 1 has 136 GiB memory in use."),
              ::testing::AllOf(::testing::HasSubstr("20.00 GiB more are needed, 3.17 GiB are free"),
                               ::testing::HasSubstr("--device cpu")));
  EXPECT_THAT(sentence("CUDA error: an illegal memory access was encountered\nCompile with ..."),
              ::testing::AllOf(::testing::HasSubstr("\"CUDA error: an illegal memory access was encountered\""),
                               ::testing::HasSubstr("start again")));
  EXPECT_THROW(throw_torch_error("DefaultCPUAllocator: can't allocate memory"), std::bad_alloc);
  for (const char* full :
       {"CUDA error: out of memory\nmore", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x"}) {
    EXPECT_THAT(sentence(full), ::testing::HasSubstr("the memory of the GPU is full: \"CUDA error")) << full;
  }
  try {
    with_torch_errors([] { throw CudaError(2, "forward: out of memory"); });
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("the memory of the GPU is full: \"forward: out of memory\""));
  }
}

TEST(DeviceDecoder, ChoosesTheHostsTokens) {
  const Architecture architecture = small_architecture();
  Decoder here(random_model(architecture), 2, 4), there(random_model(architecture, 1, with_cpu_kernels()), 2, 4);
  expect_same_tokens(here, there, architecture, 5);
}

}  // namespace
}  // namespace headscope
