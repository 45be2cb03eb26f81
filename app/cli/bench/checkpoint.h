#pragma once

#include <cstdint>
#include <filesystem>

#include "core/base/progress.h"

namespace headscope::cli::bench {

/// The sizes of a GPT-2 model.
struct Gpt2Shape {
  int64_t layers = 12, width = 768, heads = 12, vocab = 50257, positions = 4096;

  /// Weights that a token reads: all but the position embedding. The output head is the token embedding.
  int64_t read_parameters() const { return layers * 12 * width * width + vocab * width; }
  /// Of all weights with matrices of so many bytes a number; norms and biases are f32.
  int64_t weight_bytes(int64_t bytes) const {
    return (read_parameters() + positions * width) * bytes + (layers * 13 + 2) * width * 4;
  }
  /// Operations of a prompt with logits of its last position alone.
  double operations(int64_t tokens) const;
  /// What a prompt needs beside the weights: Q, K and V of every layer in `bytes` a number, LSE (two f32) of every row,
  /// and one chunk in f32 of at most 4,096 tokens: the residual stream, an MLP's input and output, and the 4 widths
  /// between them.
  int64_t pass_bytes(int64_t tokens, int64_t bytes) const;
};

/// Writes config.json and model.safetensors with random bf16 weights into an existing folder: numbers that f32 and bf16
/// models both hold exactly, so that all sides have the same. Queries and keys are scaled so that scores of a layer's
/// heads have a standard deviation of about 2.5.
void write_random_gpt2(const std::filesystem::path& folder, const Gpt2Shape&, uint64_t seed, const Progress&);

}  // namespace headscope::cli::bench
