// Cached equals uncached: every scheme of sharing, with and without windows, fed in several ways, against one pass.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>

#include "tests/run/fed_runs.h"
#include "tests/run/random_model.h"

namespace headscope {
namespace {

/// Nearly six windows, or three wide ones; a cache that starts with 16 rows and grows by half has grown 4 times.
int64_t tokens_with(Windows windows) { return windows == Windows::wide ? 3 * wide_window : 64; }

enum class Feeding { one_by_one, two_chunks, across_the_window_edge, growing };

Plan plan_of(Feeding feeding, int64_t tokens) {
  constexpr int64_t edge = narrow_window;
  switch (feeding) {
    case Feeding::one_by_one:
      return {std::vector<int64_t>(static_cast<size_t>(tokens), 1)};
    case Feeding::two_chunks:
      return {{29, tokens - 29}};
    case Feeding::across_the_window_edge:  // of 11, and of 7: before it, at it, behind it; then chunks wider than it
      return {{edge - 5, 1, 3, 1, 1, 1, edge + 4, 3, tokens - 2 * edge - 9}};
    case Feeding::growing:
      break;
  }
  Plan growing{{5}, false};
  for (int64_t fed = 5; fed < tokens; ++fed) growing.passes.push_back(1);
  return growing;
}

constexpr std::array<std::string_view, 4> windows_names = {"no windows", "sliding windows", "alternating windows",
                                                           "wide windows"};
constexpr std::array<std::string_view, 4> feeding_names = {"one by one", "two chunks", "across the window's edge",
                                                           "behind 5 tokens, growing"};

void check_growth(const RunSnapshot& run) {
  const std::set<int64_t> sizes(run.allocated_history.begin(), run.allocated_history.end());
  EXPECT_GE(sizes.size(), 4u) << "the cache has not grown 3 times";
}

std::vector<Feeding> feedings_with(Windows windows) {
  if (windows == Windows::wide) return {Feeding::growing};
  return {Feeding::one_by_one, Feeding::two_chunks, Feeding::across_the_window_edge, Feeding::growing};
}

class SharingSchemes : public ::testing::TestWithParam<SharingScheme> {};

// A test for each scheme: each is a process under ctest, which takes longer to start than all of its runs.
TEST_P(SharingSchemes, CachedEqualsUncached) {
  const SharingScheme& scheme = GetParam();
  use_threads(1);  // these models are too small for more
  for (const Windows windows : {Windows::none, Windows::sliding, Windows::alternating, Windows::wide}) {
    SCOPED_TRACE(windows_names[static_cast<size_t>(windows)]);
    const auto model = random_model(architecture_of(scheme, windows));
    const int64_t tokens = tokens_with(windows);
    const Fed whole(model, {{tokens}});
    check_bytes(whole.snapshot, scheme);
    for (const Feeding feeding : feedings_with(windows)) {
      SCOPED_TRACE(feeding_names[static_cast<size_t>(feeding)]);
      const Plan plan = plan_of(feeding, tokens);
      const Fed parts(model, plan);
      compare(whole, parts, scheme, windows == Windows::wide ? 1e-4 : 4e-5);
      // Two narrow windows fit into the first room.
      if (feeding == Feeding::growing && windows != Windows::sliding) check_growth(parts.snapshot);
      if (scheme.stored != Stored::latent) continue;
      for (const MlaForm form : {MlaForm::naive, MlaForm::absorbed}) {
        SCOPED_TRACE(form == MlaForm::naive ? "naive MLA" : "absorbed MLA");
        compare(whole, Fed(model, plan, form), scheme, 1e-4);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Run, SharingSchemes, ::testing::ValuesIn(sharing_schemes()),
                         [](const auto& scheme) { return scheme.param.name; });

}  // namespace
}  // namespace headscope
