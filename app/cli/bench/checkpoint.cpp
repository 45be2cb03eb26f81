#include "app/cli/bench/checkpoint.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "app/cli/bench/attention_data.h"
#include "core/io/json.h"
#include "core/io/safetensors.h"

namespace headscope::cli::bench {
namespace {

/// A tensor and what its random numbers are like.
struct Recipe {
  TensorInfo info;
  double deviation = 0, mean = 0;
  int64_t sharp_columns = 0;  ///< of a matrix [in, out]: the first, which have `sharp_deviation`
  double sharp_deviation = 0;
};

Recipe recipe(std::string name, std::vector<int64_t> shape, double deviation, double mean = 0) {
  Recipe out;
  out.info.name = std::move(name);
  out.info.dtype = DType::bf16;
  out.info.dtype_text = "BF16";
  out.info.shape = std::move(shape);
  out.deviation = deviation;
  out.mean = mean;
  return out;
}

/// Names and layouts of transformers' GPT2LMHeadModel; matrices are Conv1D's [in, out].
std::vector<Recipe> recipes(const Gpt2Shape& s) {
  const double outputs = 0.02 / std::sqrt(2.0 * static_cast<double>(s.layers));
  std::vector<Recipe> list;
  const auto norm = [&](const std::string& name) {
    list.push_back(recipe(name + ".weight", {s.width}, 0.1, 1));
    list.push_back(recipe(name + ".bias", {s.width}, 0.1));
  };
  const auto matrix = [&](const std::string& name, int64_t in, int64_t out, double deviation) {
    list.push_back(recipe(name + ".weight", {in, out}, deviation));
    list.push_back(recipe(name + ".bias", {out}, 0.02));
  };
  list.push_back(recipe("transformer.wte.weight", {s.vocab, s.width}, 0.02));
  list.push_back(recipe("transformer.wpe.weight", {s.positions, s.width}, 0.01));
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    const std::string h = fmt::format("transformer.h.{}.", layer);
    norm(h + "ln_1");
    matrix(h + "attn.c_attn", s.width, 3 * s.width, 0.02);
    // Behind a norm, a deviation of d gives queries and keys one of d sqrt(width), and scores its square.
    list[list.size() - 2].sharp_columns = 2 * s.width;
    list[list.size() - 2].sharp_deviation = std::sqrt(2.5 / static_cast<double>(s.width));
    matrix(h + "attn.c_proj", s.width, s.width, outputs);
    norm(h + "ln_2");
    matrix(h + "mlp.c_fc", s.width, 4 * s.width, 0.02);
    matrix(h + "mlp.c_proj", 4 * s.width, s.width, outputs);
  }
  norm("transformer.ln_f");
  return list;
}

at::Tensor make(const Recipe& recipe, at::Generator& random) {
  at::Tensor values = at::randn(recipe.info.shape, random);
  if (recipe.sharp_columns > 0) {
    const int64_t columns = values.size(1), sharp = recipe.sharp_columns;
    values.narrow(1, 0, sharp).mul_(recipe.sharp_deviation);
    values.narrow(1, sharp, columns - sharp).mul_(recipe.deviation);
  } else {
    values.mul_(recipe.deviation).add_(recipe.mean);
  }
  return values.to(at::kBFloat16);
}

std::string config_of(const Gpt2Shape& s) {
  const Json config = {{"model_type", "gpt2"},       {"architectures", {"GPT2LMHeadModel"}},
                       {"vocab_size", s.vocab},      {"n_positions", s.positions},
                       {"n_embd", s.width},          {"n_layer", s.layers},
                       {"n_head", s.heads},          {"activation_function", "gelu_new"},
                       {"layer_norm_epsilon", 1e-5}, {"tie_word_embeddings", true},
                       {"bos_token_id", 0},          {"eos_token_id", 0},
                       {"torch_dtype", "bfloat16"}};
  return config.dump(1) + "\n";
}

}  // namespace

double Gpt2Shape::operations(int64_t tokens) const {
  const double n = static_cast<double>(tokens), places = n * (n + 1) / 2;
  const double layer = 24 * static_cast<double>(width * width) * n + 4 * static_cast<double>(width) * places;
  return static_cast<double>(layers) * layer + 2 * static_cast<double>(vocab * width);
}

int64_t Gpt2Shape::pass_bytes(int64_t tokens, int64_t bytes) const {
  const int64_t token = layers * (3 * width * bytes + 2 * heads * 4), chunk = std::min<int64_t>(tokens, 4096);
  return tokens * token + chunk * 7 * width * 4;
}

void write_random_gpt2(const std::filesystem::path& folder, const Gpt2Shape& shape, uint64_t seed,
                       const Progress& progress) {
  const std::vector<Recipe> list = recipes(shape);
  std::vector<TensorInfo> tensors;
  for (const Recipe& one : list) tensors.push_back(one.info);
  at::Generator random = seeded_generator(seed);
  SafetensorsWriter writer(folder / "model.safetensors", tensors, {{"format", "pt"}});
  for (const Recipe& one : list) {
    progress.check();
    const at::Tensor values = make(one, random);
    writer.append({static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()});
  }
  writer.finish();
  write_file_atomically(folder / "config.json", config_of(shape));
}

}  // namespace headscope::cli::bench
