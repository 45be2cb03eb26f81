// Bytes by purpose of models and runs, on a device that is not the host and on one that is.
#include <gtest/gtest.h>

#include "core/arch/families/headscope_schema.h"
#include "core/data/tiles.h"
#include "core/model/random_weights.h"
#include "core/model/weights.h"
#include "core/run/decoder.h"
#include "core/run/run.h"
#include "tests/run/random_model.h"
#include "tests/run/schemes.h"
#include "tests/support/elsewhere.h"

namespace headscope {
namespace {

using testing::Elsewhere;
using enum MemoryPurpose;

std::shared_ptr<const Device> elsewhere() { return std::make_shared<const Elsewhere>(attention_kernels()); }

/// Numbers in all tensors, from the schema's shapes.
int64_t numbers_of(const Architecture& architecture, size_t dimensions) {
  int64_t sum = 0;
  for (const TensorWish& wish : headscope_schema(architecture).wishes) {
    int64_t numbers = wish.shape.size() == dimensions ? 1 : 0;
    for (const int64_t size : wish.shape) numbers *= size;
    sum += numbers;
  }
  return sum;
}

TEST(MemoryByPurpose, WeightsAreTheBytesOfTheModel) {
  for (const Architecture& architecture :
       {small_architecture(), small_gpt2_architecture(), small_latent_architecture()}) {
    const int64_t matrices = numbers_of(architecture, 2), vectors = numbers_of(architecture, 1);
    const auto device = elsewhere();
    for (const auto& [dtype, matrix_bytes] : {std::pair(DType::f32, 4), std::pair(DType::bf16, 2)}) {
      const auto model = random_weights("random", architecture, dtype, 1, {}, device);
      EXPECT_EQ(device->counts()->bytes(weights), matrix_bytes * matrices + 4 * vectors);
    }
    EXPECT_EQ(device->counts()->bytes(weights), 0) << "freed";
    EXPECT_EQ(device->counts()->peak_bytes(weights), 4 * (matrices + vectors)) << "one at a time";
  }
}

TEST(MemoryByPurpose, AWeightThatServesTwiceCountsOnce) {
  const Architecture architecture = small_architecture();
  const auto device = elsewhere();
  Weights weights_of_model;
  int64_t untied = 0;
  {
    const auto model = random_model(architecture, 1, device);
    untied = device->counts()->bytes(weights);
    weights_of_model = model->weights();
  }
  weights_of_model.lm_head.weight = weights_of_model.token_embedding;
  const Model tied("tied", architecture, std::move(weights_of_model), std::nullopt, device);
  EXPECT_EQ(device->counts()->bytes(weights), untied - 4 * architecture.vocab_size * architecture.d_model);
}

class MemoryOfRuns : public ::testing::TestWithParam<SharingScheme> {};

TEST_P(MemoryOfRuns, EveryByteHasItsPurpose) {
  for (const Windows windows : {Windows::none, Windows::sliding}) {
    for (const auto& device : {elsewhere(), counting_host()}) {
      const MemoryCounts& counts = *device->counts();
      const Architecture architecture = architecture_of(GetParam(), windows);
      auto model = random_model(architecture, 1, device);
      auto run = std::make_unique<headscope::Run>(model, RunOptions{});
      EXPECT_EQ(counts.bytes(kv) + counts.bytes(viewer), 0) << "nothing has been run";
      run->extend(random_ids(architecture, 29));
      run->extend(random_ids(architecture, 1));
      auto snapshot = std::make_unique<RunSnapshot>(run->snapshot());
      EXPECT_EQ(counts.bytes(kv), snapshot->kv_allocated_bytes());
      EXPECT_EQ(counts.peak_bytes(kv), snapshot->kv_peak_bytes);
      int64_t queries = 0, thumbnails = 0;
      for (const LayerRows& layer : snapshot->layers) {
        queries += layer.q.buffer->bytes();
        thumbnails += static_cast<int64_t>(layer.thumbnails->max.size() * sizeof(float));
      }
      EXPECT_GE(counts.bytes(viewer), queries);
      if (device->is_host()) {
        EXPECT_EQ(counts.bytes(viewer), snapshot->viewer_bytes - thumbnails) << "which are no buffers";
      }
      EXPECT_EQ(counts.bytes(scratch), 0) << "no call is on its way";
      EXPECT_GT(counts.peak_bytes(scratch), 0);
      compute_tile(*snapshot, {0, 0, 0, 30, 0, 30}, SerialFor());
      EXPECT_EQ(counts.bytes(scratch), 0);
      run.reset();
      EXPECT_GE(counts.bytes(kv) + counts.bytes(viewer), queries) << "the snapshot holds it";
      snapshot.reset();
      model.reset();
      EXPECT_EQ(device->memory().tagged_bytes(), 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Run, MemoryOfRuns, ::testing::ValuesIn(sharing_schemes()),
                         [](const auto& scheme) { return scheme.param.name; });

TEST(MemoryByPurpose, CachesOfABatchAreCounted) {
  const Architecture architecture = small_architecture();
  const auto device = elsewhere();
  {
    Decoder decoder(random_model(architecture, 1, device), 3, 4);
    decoder.prefill(random_ids(architecture, 7));
    EXPECT_EQ(device->counts()->bytes(kv), decoder.kv_allocated_bytes());
    EXPECT_EQ(device->counts()->bytes(viewer), 0);
  }
  EXPECT_EQ(device->memory().tagged_bytes(), 0);
}

}  // namespace
}  // namespace headscope
