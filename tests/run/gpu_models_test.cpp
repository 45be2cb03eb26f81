// Models of every sharing scheme on a GPU: prompts, and tokens one by one, whose step the GPU records and repeats.
// Without one this says SKIPPED and why, and ends with the code that ctest shows so.
#include <gtest/gtest.h>

#include <iostream>

#include "core/base/error.h"
#include "core/model/cuda_device.h"
#include "core/run/decoder.h"
#include "tests/run/fed_runs.h"
#include "tests/run/random_model.h"

namespace headscope {
namespace {

std::shared_ptr<const Device> gpu() {
  static const std::shared_ptr<const Device> found = choose_device("cuda").device;
  return found;
}

class GpuModels : public ::testing::TestWithParam<SharingScheme> {
 protected:
  void SetUp() override { use_threads(1); }
};

TEST_P(GpuModels, GiveWhatTheHostGives) {
  const SharingScheme& scheme = GetParam();
  for (const Windows windows : {Windows::none, Windows::alternating}) {
    SCOPED_TRACE(windows == Windows::none ? "no windows" : "alternating windows");
    const Architecture architecture = architecture_of(scheme, windows);
    Plan plan{{29}, false};
    plan.passes.resize(41, 1);  // thumbnails get coarser at 65 tokens
    plan.passes.push_back(32);
    const Fed here(random_model(architecture), plan), there(random_model(architecture, 1, gpu()), plan);
    EXPECT_EQ(there.snapshot.device, "cuda");
    EXPECT_EQ(there.snapshot.kernel, "cuda");
    compare(here, there, scheme, 1e-4);
    const Fed again(random_model(architecture, 1, gpu()), plan);
    EXPECT_EQ(std::vector<float>(again.run.last_logits().begin(), again.run.last_logits().end()),
              std::vector<float>(there.run.last_logits().begin(), there.run.last_logits().end()))
        << "a run repeats its bits";
  }
}

TEST_P(GpuModels, RecordedStepsChooseTheTokensOfStepsOneByOne) {
  ASSERT_TRUE(gpu()->records());
  const SharingScheme& scheme = GetParam();
  const auto model = random_model(architecture_of(scheme, Windows::alternating), 1, gpu());
  Decoder recorded(model, 2, 4), one_by_one(model, 2, 4, false);
  expect_same_tokens(one_by_one, recorded, *model->architecture(), 60);
  if (scheme.stored == Stored::keys_only) return;  // values are made anew from all keys
  EXPECT_GE(recorded.recorded_steps(), 20);
}

TEST_P(GpuModels, OfSeveralSequencesChooseTheHostsTokens) {
  const Architecture architecture = architecture_of(GetParam(), Windows::alternating);
  Decoder here(random_model(architecture), 3, 4), there(random_model(architecture, 1, gpu()), 3, 4);
  expect_same_tokens(here, there, architecture, 30);
}

INSTANTIATE_TEST_SUITE_P(Gpu, GpuModels, ::testing::ValuesIn(sharing_schemes()),
                         [](const auto& scheme) { return scheme.param.name; });

int run_on_gpu(int argc, char** argv) {
  try {
    gpu();
  } catch (const Error& error) {
    std::cout << "SKIPPED: " << error.what() << "\n";
    return 77;
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

}  // namespace
}  // namespace headscope

int main(int argc, char** argv) { return headscope::run_on_gpu(argc, argv); }
