// A model that someone else trained: ids, logits, text, entropies and bytes published beside it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "core/io/checkpoint.h"
#include "core/model/description.h"
#include "core/model/weights.h"
#include "core/run/generate.h"

namespace headscope {
namespace {

const std::filesystem::path folder = std::filesystem::path(HEADSCOPE_REAL_DATA) / "stories260K";

const std::vector<int32_t> published_ids = {1,   410, 469, 347, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401,
                                            396, 267, 337, 410, 408, 419, 292, 411, 322, 265, 282, 295, 433, 426, 385,
                                            328, 432, 358, 394, 261, 370, 432, 352, 266, 268, 388, 426, 338, 391, 266,
                                            267, 337, 335, 312, 432, 398, 358, 279, 292, 416, 439, 413, 391, 267, 337};

class Stories : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no model at " << folder;
    checkpoint_ = open_checkpoint(folder);
    model_ = Model::load(*checkpoint_);
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::shared_ptr<const Model> model_;
};

TEST_F(Stories, IsGroupedQueryAttention) {
  const ModelDescription description = describe(*checkpoint_);
  EXPECT_EQ(variant_name(description.architecture), "GQA-4");
  EXPECT_EQ(description.binding.parameters, 260032);
  EXPECT_EQ(kv_bytes_per_token(description.architecture, 4), 1280);
}

TEST_F(Stories, LogitsOfTheFirstToken) {
  headscope::Run run(model_, {});
  run.extend(std::vector<int32_t>{1});
  const auto logits = run.last_logits();
  const std::vector<float> published = {-6.22291f, 8.40434f, -6.22374f, -6.22254f, -6.22195f};
  for (size_t id = 0; id < published.size(); ++id) EXPECT_NEAR(logits[id], published[id], 2e-5) << id;
  EXPECT_EQ(std::max_element(logits.begin(), logits.end()) - logits.begin(), 403);
  EXPECT_NEAR(logits[403], 17.02352, 5e-5);
}

std::vector<int32_t> greedy(const std::shared_ptr<const Model>& model, int64_t count) {
  const auto prompt = model->tokenizer().encode("Zoo");
  headscope::Run run(model, {});
  run.extend(prompt);
  Sampler sampler({});
  generate(run, sampler, count, true, {});
  return run.snapshot().ids;
}

TEST_F(Stories, GreedyTextIsThePublishedOne) {
  EXPECT_THAT(greedy(model_, 56), ::testing::ElementsAreArray(published_ids));
}

TEST_F(Stories, WrongRopeOrderIsGarbage) {
  Architecture interleaved = *model_->architecture();
  interleaved.position.rope.style = RotationStyle::interleaved;
  auto again = open_checkpoint(folder);
  const auto wrong = std::make_shared<Model>("wrong", interleaved, model_->weights(),
                                             Tokenizer::from_files(again->tokenizer(), "stories"));
  const auto ids = greedy(wrong, 56);
  int equal = 0;
  for (size_t i = 4; i < published_ids.size(); ++i) equal += ids[i] == published_ids[i] ? 1 : 0;
  EXPECT_LT(equal, 28) << "the other order of rotated pairs should not reproduce the text";
}

TEST_F(Stories, EntropiesOfTheFirst32Tokens) {
  const std::vector<std::pair<int64_t, std::vector<double>>> published = {
      {0, {1.3912, 1.7947, 1.0659, 1.2477, 0.9320, 0.9319, 1.1862, 1.4536}},
      {2, {0.6997, 1.1253, 0.8915, 1.3230, 1.5838, 1.7965, 1.6899, 1.4916}},
      {4, {1.7437, 1.4532, 1.7362, 1.8728, 1.8711, 1.7616, 1.3986, 1.4437}}};
  headscope::Run run(model_, {});
  run.extend(std::span(published_ids).first(32));
  const RunSnapshot snapshot = run.snapshot();
  for (const auto& [layer, entropies] : published) {
    for (int64_t head = 0; head < 8; ++head) {
      double sum = 0;
      for (int64_t row = 0; row < 32; ++row) {
        sum += snapshot.layers[static_cast<size_t>(layer)].statistic(Statistic::entropy, row, head, 8);
      }
      EXPECT_NEAR(sum / 32, entropies[static_cast<size_t>(head)], 6e-5) << layer << ":" << head;
    }
  }
}

TEST_F(Stories, CacheHolds1280BytesPerToken) {
  headscope::Run run(model_, {});
  run.extend(published_ids);
  int64_t used = 0;
  for (const KvRows& store : run.snapshot().stores) used += store.used_bytes;
  EXPECT_EQ(used, 60 * 1280);
}

}  // namespace
}  // namespace headscope
