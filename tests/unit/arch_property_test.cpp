// Random mutations of valid configs and files: each loads or throws Error, and what loads is consistent.
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "core/arch/rope.h"
#include "core/base/error.h"
#include "tests/unit/arch_support.h"

namespace headscope {
namespace {

using Random = std::mt19937_64;

size_t pick(Random& random, size_t count) { return static_cast<size_t>(random() % count); }

Json random_value(Random& random, int depth = 0) {
  const int64_t largest = std::numeric_limits<int64_t>::max();
  switch (pick(random, depth > 3 ? 7 : 10)) {
    case 0:
      return static_cast<int64_t>(pick(random, 300)) - 3;
    case 1:
      return int64_t{1} << pick(random, 63);
    case 2:
      return std::vector<Json>{largest, -largest, std::numeric_limits<uint64_t>::max(), 0, -1}[pick(random, 5)];
    case 3:
      return std::vector<Json>{0.0,
                               -0.0,
                               1.5,
                               1e-320,
                               1e300,
                               std::numeric_limits<double>::infinity(),
                               std::numeric_limits<double>::quiet_NaN(),
                               -7.25}[pick(random, 8)];
    case 4:
      return std::vector<Json>{"",
                               "12",
                               "gelu",
                               "silu",
                               "linear",
                               "llama3",
                               "dynamic",
                               "\xff\xfe",
                               "gpt2",
                               "llama",
                               std::string(5000, 'a')}[pick(random, 11)];
    case 5:
      return nullptr;
    case 6:
      return pick(random, 2) == 0;
    case 7:
      return Json::array({random_value(random, depth + 1), random_value(random, depth + 1)});
    case 8:
      return Json{{"rope_type", random_value(random, depth + 1)}, {"factor", random_value(random, depth + 1)}};
    default: {
      Json rope{{"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}};
      rope[std::vector<const char*>{"factor", "low_freq_factor", "high_freq_factor", "rope_theta",
                                    "type"}[pick(random, 5)]] = random_value(random, depth + 1);
      return rope;
    }
  }
}

Json mutated(Random& random, Json config) {
  static constexpr const char* more_keys[] = {
      "rope_scaling",          "rope_parameters", "quantization_config",
      "attention_bias",        "n_ctx",           "scale_attn_weights",
      "partial_rotary_factor", "hidden_size",     "original_max_position_embeddings"};
  for (size_t changes = 1 + pick(random, 3); changes > 0; --changes) {
    const bool known = pick(random, 3) > 0 && !config.empty();
    const std::string key =
        known ? std::next(config.begin(), static_cast<std::ptrdiff_t>(pick(random, config.size()))).key()
              : more_keys[pick(random, std::size(more_keys))];
    if (known && pick(random, 6) == 0) {
      config.erase(key);
    } else {
      config[key] = random_value(random);
    }
  }
  return config;
}

/// Everything that is derived from an architecture works and agrees.
void check_loaded(const Family& family, const Architecture& a) {
  EXPECT_NO_THROW(validate(a));
  EXPECT_FALSE(variant_name(a).empty());
  EXPECT_GT(kv_bytes_per_token(a, 2), 0);
  EXPECT_NE(kv_equation(a, 2).find("B per token"), std::string::npos);
  const TensorSchema schema = family.schema(a);
  EXPECT_GT(parameter_count(schema), 0);
  const TensorBinding binding = bind_tensors(schema, arch_test::file_for(schema, schema.prefixes.front()), "file");
  EXPECT_EQ(binding.parameters, parameter_count(schema));
  if (a.position.scheme != PositionScheme::rope) return;
  try {
    rope_inverse_frequencies(a.position.rope);
  } catch (const Error&) {  // a factor that leaves the range of double
  }
}

TEST(ArchProperty, MutatedConfigsLoadOrThrowError) {
  Random random(20240607);
  int loaded = 0, refused = 0;
  for (int i = 0; i < 4000; ++i) {
    const Json config = mutated(random, i % 2 ? arch_test::llama_config() : arch_test::gpt2_config(24, 3, 2));
    std::vector<std::string> notes;
    const Family* family = nullptr;
    Architecture a;
    try {
      family = &recognise_family(config, "config.json");
      a = family->architecture(config, "config.json", notes);
    } catch (const Error& error) {
      EXPECT_LT(std::string_view(error.what()).size(), 1000u);
      EXPECT_TRUE(std::string_view(error.what()).starts_with("config.json: ")) << error.what();
      ++refused;
      continue;
    }
    ++loaded;
    SCOPED_TRACE(config.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 2000));
    check_loaded(*family, a);
    if (HasFailure()) return;
  }
  // Both outcomes are common, so the test looks at both paths.
  EXPECT_GT(loaded, 400);
  EXPECT_GT(refused, 400);
}

TEST(ArchProperty, MutatedFilesBindOrThrowError) {
  Random random(7);
  const Architecture a = arch_test::load(arch_test::llama_config());
  const TensorSchema schema = recognise_family(arch_test::llama_config(), "").schema(a);
  int bound = 0, refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::vector<TensorInfo> file = arch_test::file_for(schema, "model.");
    TensorInfo& info = file[pick(random, file.size())];
    switch (pick(random, 5)) {
      case 0:
        info.name += "x";
        break;
      case 1:
        info.dtype = static_cast<DType>(pick(random, 16));
        break;
      case 2:
        info.shape.assign(pick(random, 5), static_cast<int64_t>(pick(random, 600)));
        break;
      case 3:
        if (!info.shape.empty()) info.shape[0] = static_cast<int64_t>(random() >> 1);
        break;
      default:
        std::swap(info, file.back());
    }
    try {
      EXPECT_EQ(bind_tensors(schema, file, "f").parameters, parameter_count(schema));
      ++bound;
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(bound, 200);
  EXPECT_GT(refused, 200);
}

}  // namespace
}  // namespace headscope
