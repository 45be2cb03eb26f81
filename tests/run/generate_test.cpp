#include "core/run/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "tests/run/random_model.h"

namespace headscope {
namespace {

TEST(Candidates, AreTheLargestWithSoftmaxProbabilities) {
  const std::vector<float> logits = {0, std::log(3.0f), std::log(2.0f), 0};
  const auto top = top_candidates(logits, 3);
  ASSERT_EQ(top.size(), 3u);
  EXPECT_EQ(top[0].id, 1);
  EXPECT_NEAR(top[0].probability, 3.0 / 7, 1e-7);
  EXPECT_EQ(top[1].id, 2);
  EXPECT_NEAR(top[1].probability, 2.0 / 7, 1e-7);
  EXPECT_EQ(top[2].id, 0);  // a tie goes to the lowest id
  EXPECT_NEAR(top[2].probability, 1.0 / 7, 1e-7);
}

TEST(Sampler, IsGreedyWithoutATemperature) {
  Sampler sampler({});
  EXPECT_EQ(sampler.next(std::vector<float>{1, 5, 5, 2}), 1);
}

std::map<int32_t, double> frequencies(const SamplingOptions& options, const std::vector<float>& logits, int draws) {
  Sampler sampler(options);
  std::map<int32_t, double> counts;
  for (int i = 0; i < draws; ++i) counts[sampler.next(logits)] += 1.0 / draws;
  return counts;
}

TEST(Sampler, DrawsWithTheProbabilitiesOfTheTemperature) {
  const std::vector<float> logits = {0, 1, 2, -1};
  const double temperature = 0.8;
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit / temperature);
  auto found = frequencies({temperature, 0, 1, 7}, logits, 40000);
  for (int32_t id = 0; id < 4; ++id) {
    EXPECT_NEAR(found[id], std::exp(logits[static_cast<size_t>(id)] / temperature) / sum, 0.01) << id;
  }
}

TEST(Sampler, TopKAndTopPKeepTheLikeliest) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  auto top_k = frequencies({1, 2, 1, 3}, logits, 20000);
  EXPECT_EQ(top_k.size(), 2u);
  EXPECT_NEAR(top_k[0], 0.5 / 0.8, 0.015);
  auto top_p = frequencies({1, 0, 0.75, 3}, logits, 20000);  // 0.5 + 0.3 reaches 0.75
  EXPECT_EQ(top_p.size(), 2u);
  EXPECT_NEAR(top_p[1], 0.3 / 0.8, 0.015);
}

TEST(Sampler, TheSameSeedDrawsTheSame) {
  const std::vector<float> logits = {0, 0.1f, 0.2f, 0.3f};
  Sampler a({1, 0, 1, 5}), b({1, 0, 1, 5}), c({1, 0, 1, 6});
  std::vector<int32_t> from_a, from_b, from_c;
  for (int i = 0; i < 50; ++i) {
    from_a.push_back(a.next(logits));
    from_b.push_back(b.next(logits));
    from_c.push_back(c.next(logits));
  }
  EXPECT_EQ(from_a, from_b);
  EXPECT_NE(from_a, from_c);
}

TEST(Sampler, RefusesWhatMakesNoSense) {
  for (const SamplingOptions& options :
       {SamplingOptions{-1}, SamplingOptions{NAN}, SamplingOptions{INFINITY}, SamplingOptions{1, -1},
        SamplingOptions{1, 0, 0}, SamplingOptions{1, 0, 1.5}}) {
    EXPECT_THROW(Sampler{options}, UsageError);
  }
  Sampler sampler({});
  EXPECT_THROW(sampler.next(std::vector<float>{1, NAN}), Error);
  EXPECT_THROW(sampler.next(std::vector<float>{1, INFINITY}), Error);
  EXPECT_THROW(sampler.next(std::vector<float>{}), Error);
}

TEST(Sampler, TinyTemperatureIsGreedy) {
  Sampler sampler({1e-30, 0, 1, 1});
  EXPECT_EQ(sampler.next(std::vector<float>{1, 3, 2}), 1);
}

TEST(Generate, ForwardsEveryNewTokenAndStopsAtTheEnd) {
  Architecture architecture = small_architecture();
  const auto prompt = random_ids(architecture, 5);
  headscope::Run run(random_model(architecture), {});
  run.extend(prompt);
  run.end_prompt();
  Sampler sampler({});
  std::vector<int32_t> told;
  EXPECT_EQ(generate(run, sampler, 6, false, {}, [&](int32_t id) { told.push_back(id); }), 6);
  const RunSnapshot snapshot = run.snapshot();
  EXPECT_EQ(snapshot.prompt_tokens, 5);
  EXPECT_EQ(snapshot.tokens(), 11);
  EXPECT_EQ(std::vector<int32_t>(snapshot.ids.begin() + 5, snapshot.ids.end()), told);
  EXPECT_EQ(snapshot.layers[0].q.rows, 11);

  architecture.eos_ids = {told[2]};
  const auto first = static_cast<int64_t>(std::find(told.begin(), told.end(), told[2]) - told.begin()) + 1;
  headscope::Run stopped(random_model(architecture), {});
  stopped.extend(prompt);
  EXPECT_EQ(generate(stopped, sampler, 6, false, {}), first);
  headscope::Run going_on(random_model(architecture), {});
  going_on.extend(prompt);
  EXPECT_EQ(generate(going_on, sampler, 6, true, {}), 6);
}

}  // namespace
}  // namespace headscope
