#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/arch/architecture.h"
#include "core/base/progress.h"
#include "core/data/device.h"
#include "core/io/checkpoint.h"
#include "core/model/linear_method.h"
#include "core/tokenizer/tokenizer.h"

namespace headscope {

struct Weights;

/// How a checkpoint becomes a model.
struct LoadOptions {
  /// ALiBi without the rounding to bf16 that the family was trained with. Models that do not round it are refused.
  bool exact_alibi = false;
  /// Type of weights and linear layers: f32 or bf16; nothing takes bf16 where most of the weights are stored so, else
  /// f32. Norms and biases are f32 in any case.
  std::optional<DType> dtype;
  /// Who multiplies f32 weights with many tokens; our kernels unless given. A GPU's weights are LibTorch's in any case.
  std::optional<LinearMethod> linear;
  /// Where weights lie and layers run.
  std::shared_ptr<const Device> device = host();
};

/// A loaded model: architecture, weights, tokenizer. Immutable after load, so it may be shared between threads.
class Model {
 public:
  /// Reads every tensor straight into its place: beside the weights, memory holds at most one tensor twice (one whose
  /// rows are sorted into several weights, that the file has transposed, or that is rounded to bf16). Throws Error
  /// (architecture not runnable, tokenizer larger than the embedding, ...).
  static std::shared_ptr<const Model> load(Checkpoint&, const LoadOptions& = {}, const Progress& = {});

  /// From parts made in memory; validates them like a file's. For tests and for converted models.
  Model(std::string name, Architecture, Weights, std::optional<Tokenizer>, std::shared_ptr<const Device> = host());
  ~Model();

  const std::string& name() const { return name_; }
  std::shared_ptr<const Architecture> architecture() const { return architecture_; }
  const Weights& weights() const { return *weights_; }
  /// The tokenizer; throws Error with the reason when the checkpoint has none that can be used.
  const Tokenizer& tokenizer() const;
  bool has_tokenizer() const { return tokenizer_.has_value(); }
  /// Things a user should know about the checkpoint.
  std::span<const std::string> notes() const { return notes_; }
  int64_t parameters() const { return parameters_; }
  /// Type of the weights and of the linear layers: f32 or bf16.
  DType dtype() const;
  /// Type in which caches hold keys and values: that of the weights.
  Element cache_element() const { return dtype() == DType::bf16 ? Element::bf16 : Element::f32; }
  /// Where its weights lie, and the caches of its runs.
  const std::shared_ptr<const Device>& device() const { return device_; }
  /// "libtorch", or the name of the kernel that multiplies the weights with many tokens.
  std::string_view linear_kernel() const;

 private:
  std::string name_;
  std::shared_ptr<const Architecture> architecture_;
  std::unique_ptr<const Weights> weights_;
  std::optional<Tokenizer> tokenizer_;
  std::shared_ptr<const Device> device_;
  CountedBytes counted_;  ///< the weights, by the device
  std::string tokenizer_problem_;
  std::vector<std::string> notes_;
  int64_t parameters_ = 0;
};

}  // namespace headscope
