// What stands between a benchmark and a wrong number: results are compared before anything is timed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <limits>

#include "app/cli/bench/attention_data.h"
#include "app/cli/bench/bench.h"
#include "app/cli/bench/library_attention.h"
#include "app/cli/bench/torch_operations.h"
#include "core/base/error.h"

namespace headscope::cli::bench {
namespace {

using testing::HasSubstr;
using testing::Throws;
using testing::ThrowsMessage;

Bench bench_of(int64_t repeats) {
  Setting setting;
  setting.repeats = repeats;
  return {setting, {{"fma", "FLOP/s", "", 1e9, 2e9}, {"exp", "values/s", "", 1e8, 2e8}}};
}

/// Two sides with results of their own, and how often each has run.
struct Fake {
  std::vector<float> ours{1, 2, 3}, theirs{1, 2, 3};
  int our_runs = 0, their_runs = 0;

  Contest contest() {
    return {"shape",
            {{"ours", [this] { return 1.0 + 0 * ++our_runs; }, ""},
             {"theirs", [this] { return 2.0 + 0 * ++their_runs; }, ""}},
            {{"sum", 0, 1, std::nullopt, [this] { return std::vector{require_equal("sum", ours, theirs, 1e-3)}; }}}};
  }
};

TEST(Compare, TellsTheLargestDifference) {
  const std::vector<float> ours{1, -2.5F, 100}, theirs{1, -2, 100.25F};
  const Difference found = require_equal("sums", ours, theirs, 0.01);
  EXPECT_EQ(found.largest, 0.5);
  EXPECT_EQ(found.scale, 100.25);
  EXPECT_DOUBLE_EQ(found.relative(), 0.5 / 100.25);
}

TEST(Compare, RefusesWhatDiffers) {
  const std::vector<float> theirs{1, 2, 3, 4};
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const float wrong : {4.01F, -4.0F, nan, infinity}) {
    for (const size_t place : {0, 3}) {
      std::vector<float> ours = theirs;
      ours[place] = wrong;
      EXPECT_THAT([&] { require_equal("sums", ours, theirs, 1e-3); }, ThrowsMessage<Error>(HasSubstr("sums"))) << wrong;
      EXPECT_THAT([&] { require_equal("sums", theirs, ours, 1e-3); }, Throws<Error>()) << wrong;
    }
  }
  EXPECT_THAT([&] { require_equal("sums", std::span(theirs).first(3), theirs, 1e-3); }, Throws<Error>());
}

/// A zero beside a zero is right, and anything else beside it is not.
TEST(Compare, TakesZeros) {
  const std::vector<float> zeros(3), others{0, 1e-3F, 0};
  EXPECT_EQ(require_equal("zeros", zeros, zeros, 1e-6).relative(), 0);
  EXPECT_THAT([&] { require_equal("zeros", others, zeros, 1e-6); }, Throws<Error>());
}

TEST(Contest, TimesNothingThatIsWrong) {
  Bench bench = bench_of(5);
  Fake fake;
  fake.ours[1] = 2.1F;
  EXPECT_THAT([&] { bench.hold(fake.contest()); }, ThrowsMessage<Error>(HasSubstr("nothing was timed")));
  EXPECT_EQ(fake.our_runs, 1);
  EXPECT_EQ(fake.their_runs, 1);
  EXPECT_TRUE(bench.rows().empty());
}

TEST(Contest, TimesBothSidesAsOftenAsAsked) {
  Bench bench = bench_of(5);
  Fake fake;
  bench.hold(fake.contest());
  EXPECT_EQ(fake.our_runs, 6) << "the first run is for the results";
  EXPECT_EQ(fake.their_runs, 6);
  ASSERT_EQ(bench.rows().size(), 1u);
  EXPECT_EQ(bench.rows()[0].our_seconds, std::vector<double>(5, 1.0));
  EXPECT_EQ(bench.rows()[0].ratio(), 0.5);
}

TEST(Contest, RunsOnceWhereThatIsAsked) {
  Bench bench = bench_of(5);
  Fake fake;
  Contest contest = fake.contest();
  contest.once = true;
  bench.hold(contest);
  EXPECT_EQ(fake.our_runs, 1);
  EXPECT_EQ(fake.their_runs, 1);
  EXPECT_EQ(bench.rows().at(0).our_seconds, std::vector{1.0});
  EXPECT_EQ(bench.rows()[0].their_seconds, std::vector{2.0});
}

TEST(Contest, SetsThePeakBesideTheFormula) {
  Bench bench = bench_of(1);
  Fake fake;
  Contest contest = fake.contest();
  contest.pairings[0].memory = MemoryFormula{100, 40};
  bench.hold(contest);
  EXPECT_EQ(bench.rows().at(0).memory_share(), std::nullopt) << "no peak was measured";
  contest.sides[0].peak_bytes = [] { return int64_t{68}; };
  bench.hold(contest);
  EXPECT_EQ(bench.rows().at(1).memory_share(), 1.2);
}

TEST(Contest, FloorsAddUp) {
  EXPECT_DOUBLE_EQ(bench_of(1).floor({{"fma", 4e9}, {"exp", 1e8}}).seconds, 2.5);
  EXPECT_EQ(bench_of(1).floor({{"fma", 4e9}, {"exp", 1e8}}).limits, "fma + exp");
}

TEST(Contest, WantsTheOperationThatItNames) {
  Bench bench = bench_of(1);
  const at::Tensor x = at::ones({4, 4});
  const auto product = [&] { return seconds_of([&] { at::mm(x, x); }); };
  Contest contest{"shape", {{"ours", product, ""}, {"theirs", product, "aten::mm"}}, {}};
  contest.pairings.push_back({"product", 0, 1, std::nullopt, [] { return std::vector<Difference>(); }});
  bench.hold(contest);
  EXPECT_THAT(bench.rows().at(0).operations, testing::Contains("aten::mm"));
  contest.sides[1].must_run = "aten::addmm";
  EXPECT_THAT([&] { bench.hold(contest); }, ThrowsMessage<Error>(HasSubstr("should run aten::addmm")));
}

TEST(Operations, AreThoseOfTheWorkAlone) {
  const at::Tensor x = at::ones({4});
  EXPECT_THAT(torch_operations([&] { at::exp(x); }), testing::Contains("aten::exp"));
  EXPECT_THAT(torch_operations([] {}), testing::IsEmpty());
}

/// The composition against the definition: the whole map by softmax, in double.
TEST(LibraryStatistics, AreThoseOfTheMap) {
  const c10::InferenceMode no_gradients;
  at::Generator random = seeded_generator(3);
  for (const AttentionShape& shape :
       {AttentionShape{"even", 2, 2, 128, 128, 64, 64}, AttentionShape{"grouped", 4, 2, 64, 64, 96, 32}}) {
    const AttentionData data(shape, random);
    LibraryStatistics found(data);
    found.run();
    const at::Tensor k = data.k.repeat_interleave(shape.q_heads / shape.kv_heads, 1)[0].to(at::kDouble);
    const at::Tensor scores = at::matmul(data.q[0].to(at::kDouble), k.transpose(1, 2)) * data.scale();
    EXPECT_NEAR(scores.std().item<double>(), 2.5, 0.3) << "scores as trained heads have them";
    const at::Tensor index = at::arange(shape.kv_len).to(at::kDouble);
    const at::Tensor back = index.unsqueeze(1) - index.unsqueeze(0);
    const at::Tensor p = at::softmax(scores.masked_fill(back < 0, -std::numeric_limits<double>::infinity()), -1);
    const auto near = [&](const char* what, const at::Tensor& a, const at::Tensor& b) {
      EXPECT_LT((a.to(at::kDouble) - b).abs().max().item<double>(), 1e-4 * b.abs().max().item<double>()) << what;
    };
    near("entropy", found.entropy, -at::xlogy(p, p).sum(-1));
    const at::Tensor distance = (p * back).sum(-1);
    near("distance", found.distance, distance);
    near("variance", found.variance, (p * (back - distance.unsqueeze(-1)).square()).sum(-1));
    near("sink", found.sink, p.select(-1, 0));
    near("window", found.window, (p * (back < KernelForward::window_tokens)).sum(-1));
    const int64_t bin = (shape.kv_len + 63) / 64, cells = shape.kv_len / bin;
    near("thumbnails", found.thumbnails.narrow(1, 0, cells).narrow(2, 0, cells),
         p.view({shape.q_heads, cells, bin, cells, bin}).mean({2, 4}));
  }
}

}  // namespace
}  // namespace headscope::cli::bench
