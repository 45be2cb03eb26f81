#include "core/model/model.h"

#include <map>

#include <ATen/ATen.h>

#include "core/model/description.h"
#include "core/model/supported.h"
#include "core/model/torch_errors.h"
#include "core/model/weights.h"

namespace headscope {
namespace {

using WeightMap = std::map<std::pair<int64_t, Weight>, at::Tensor>;  // by layer (-1: outside) and weight

/// One tensor of the file, read straight into its final storage and standing as [out, in].
at::Tensor read_tensor(Checkpoint& checkpoint, const TensorInfo& info, const TensorWish& wish,
                       const Progress& progress) {
  at::Tensor tensor = at::empty(info.shape, at::kFloat);
  checkpoint.read_f32(info, {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())}, progress);
  if (wish.plus_one) tensor += 1;
  if (wish.more_rows_allowed) tensor = tensor.narrow(0, 0, wish.shape.front());
  return wish.transposed ? tensor.t() : tensor;
}

/// The rows of `tensor` that make up one weight: a view where they lie together, else a copy.
at::Tensor take_part(const at::Tensor& tensor, const WeightPart& part) {
  std::vector<at::Tensor> pieces;
  for (const RowRange& range : part.rows) pieces.push_back(tensor.narrow(0, range.begin, range.count));
  if (pieces.empty()) return tensor;
  return pieces.size() == 1 ? pieces.front() : at::cat(pieces, 0);
}

WeightMap read_weights(Checkpoint& checkpoint, const ModelDescription& description, const Progress& progress) {
  WeightMap weights;
  const auto& bound = description.binding.tensors;
  for (size_t index = 0; index < bound.size(); ++index) {
    progress.step("loading", static_cast<double>(index) / static_cast<double>(bound.size()));
    const TensorWish& wish = description.schema.wishes[bound[index].wish];
    const TensorInfo& info = checkpoint.tensors()[bound[index].tensor];
    const at::Tensor tensor = read_tensor(checkpoint, info, wish, Progress{progress.stop, {}});
    for (const WeightPart& part : wish.parts) weights[{part.layer, part.weight}] = take_part(tensor, part);
  }
  return weights;
}

Weights arrange(WeightMap& map, const Architecture& architecture) {
  Weights weights;
  weights.token_embedding = map[{-1, Weight::token_embedding}];
  weights.position_embedding = map[{-1, Weight::position_embedding}];
  weights.final_norm = {map[{-1, Weight::final_norm}], map[{-1, Weight::final_norm_bias}]};
  weights.lm_head = {map[{-1, Weight::lm_head}], map[{-1, Weight::lm_head_bias}]};
  if (!weights.lm_head.weight.defined()) weights.lm_head.weight = weights.token_embedding;
  for (int64_t layer = 0; layer < architecture.layer_count(); ++layer) {
    const auto linear = [&](Weight weight, Weight bias) { return Linear{map[{layer, weight}], map[{layer, bias}]}; };
    weights.layers.push_back({
        .attention_norm = {map[{layer, Weight::attention_norm}], map[{layer, Weight::attention_norm_bias}]},
        .mlp_norm = {map[{layer, Weight::mlp_norm}], map[{layer, Weight::mlp_norm_bias}]},
        .attention_post_norm = {map[{layer, Weight::attention_post_norm}], {}},
        .mlp_post_norm = {map[{layer, Weight::mlp_post_norm}], {}},
        .query_norm = map[{layer, Weight::query_norm}],
        .key_norm = map[{layer, Weight::key_norm}],
        .query = linear(Weight::query, Weight::query_bias),
        .key = linear(Weight::key, Weight::key_bias),
        .value = linear(Weight::value, Weight::value_bias),
        .output = linear(Weight::attention_output, Weight::attention_output_bias),
        .gate = linear(Weight::mlp_gate, Weight::mlp_gate_bias),
        .up = linear(Weight::mlp_up, Weight::mlp_up_bias),
        .down = linear(Weight::mlp_down, Weight::mlp_down_bias),
    });
  }
  return weights;
}

void check_tokenizer(const Tokenizer& tokenizer, const Architecture& architecture, const std::string& name) {
  if (tokenizer.vocab_size() > architecture.vocab_size) {
    fail("the tokenizer of {} has ids up to {} but the embedding has {} rows; the tokenizer belongs to another model",
         quoted(name), tokenizer.vocab_size() - 1, architecture.vocab_size);
  }
}

void use_exact_alibi(Position& position, const std::string& name) {
  if (!position.alibi_bf16) {
    fail("exact ALiBi changes nothing for {}: {}", quoted(name),
         position.scheme == PositionScheme::alibi ? "its ALiBi is not rounded" : "it has no ALiBi");
  }
  position.alibi_bf16 = false;
}

}  // namespace

std::shared_ptr<const Model> Model::load(Checkpoint& checkpoint, const LoadOptions& options, const Progress& progress) {
  const c10::InferenceMode no_gradients;
  ModelDescription description = describe(checkpoint);
  if (options.exact_alibi) use_exact_alibi(description.architecture.position, description.name);
  require_supported(description.architecture, description.name);
  std::optional<Tokenizer> tokenizer;
  std::string problem = "the checkpoint has no tokenizer files";
  if (!checkpoint.tokenizer().empty()) {
    try {
      tokenizer = Tokenizer::from_files(checkpoint.tokenizer(), checkpoint.path().string());
    } catch (const Error& error) {
      problem = error.what();
      description.notes.push_back(problem);
    }
  }
  WeightMap map = with_torch_errors([&] { return read_weights(checkpoint, description, progress); });
  auto model = std::make_shared<Model>(description.name, description.architecture,
                                       arrange(map, description.architecture), std::move(tokenizer));
  model->tokenizer_problem_ = std::move(problem);
  model->notes_ = std::move(description.notes);
  model->parameters_ = description.binding.parameters;
  return model;
}

Model::Model(std::string name, Architecture architecture, Weights weights, std::optional<Tokenizer> tokenizer)
    : name_(std::move(name)),
      architecture_(std::make_shared<const Architecture>(std::move(architecture))),
      weights_(std::make_unique<const Weights>(std::move(weights))),
      tokenizer_(std::move(tokenizer)) {
  validate(*architecture_);
  require_supported(*architecture_, name_);
  if (tokenizer_) check_tokenizer(*tokenizer_, *architecture_, name_);
}

Model::~Model() = default;

const Tokenizer& Model::tokenizer() const {
  if (!tokenizer_)
    fail("{} cannot turn text into tokens: {}; give token ids with --ids", quoted(name_), tokenizer_problem_);
  return *tokenizer_;
}

}  // namespace headscope
