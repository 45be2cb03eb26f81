// Models and runs whose memory is not the host's: the same logits, statistics, tiles and bytes.
#include <gtest/gtest.h>

#include "core/run/decoder.h"
#include "kernels/cuda/attention.h"
#include "tests/run/fed_runs.h"
#include "tests/run/random_model.h"
#include "tests/support/elsewhere.h"

namespace headscope {
namespace {

using testing::Elsewhere;

std::shared_ptr<const Device> with_cpu_kernels() { return std::make_shared<Elsewhere>(attention_kernels()); }

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

TEST(DeviceDecoder, ChoosesTheHostsTokens) {
  const Architecture architecture = small_architecture();
  Decoder here(random_model(architecture), 2, 4), there(random_model(architecture, 1, with_cpu_kernels()), 2, 4);
  const auto ids = random_ids(architecture, 7);
  std::vector<int32_t> next = {1, 2};
  for (Decoder* decoder : {&here, &there}) decoder->prefill(ids);
  for (int step = 0; step < 5; ++step) {
    const std::vector<int32_t> expected = here.step(next);
    EXPECT_EQ(there.step(next), expected) << step;
    next = expected;
  }
  EXPECT_EQ(there.kv_allocated_bytes(), here.kv_allocated_bytes());
}

}  // namespace
}  // namespace headscope
