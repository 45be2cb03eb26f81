#include "core/model/model.h"

#include <ATen/ATen.h>

#include "core/model/description.h"
#include "core/model/linear.h"
#include "core/model/startup_pages.h"
#include "core/model/supported.h"
#include "core/model/torch_errors.h"
#include "core/model/weight_map.h"
#include "core/model/weight_memory.h"
#include "core/model/weights.h"
#include "kernels/linear.h"

namespace headscope {
namespace {

/// What a tensor is held as: matrices in the model's type; norms, biases and routers, whose choices rounding would
/// change, in f32.
DType held_as(const TensorInfo& info, const TensorWish& wish, DType dtype) {
  const bool matrix = info.shape.size() > 1 && wish.parts.front().weight != Weight::router;
  return matrix ? dtype : DType::f32;
}

/// The tensor as the file has it, in its final storage.
at::Tensor read_values(Checkpoint& checkpoint, const TensorInfo& info, DType dtype, const Progress& progress) {
  if (dtype == DType::bf16 && info.dtype == DType::bf16) {
    at::Tensor tensor = empty_weight(info.shape, at::kBFloat16);
    checkpoint.read_raw(info, {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()}, progress);
    return tensor;
  }
  at::Tensor tensor = empty_weight(info.shape, at::kFloat);
  checkpoint.read_f32(info, {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())}, progress);
  return dtype == DType::bf16 ? empty_weight(info.shape, at::kBFloat16).copy_(tensor) : tensor;
}

/// One tensor of the file, standing as [out, in].
at::Tensor read_tensor(Checkpoint& checkpoint, const TensorInfo& info, const TensorWish& wish, DType dtype,
                       const Progress& progress) {
  at::Tensor tensor = read_values(checkpoint, info, held_as(info, wish, dtype), progress);
  if (wish.plus_one) tensor += 1;
  if (wish.more_rows_allowed) tensor = tensor.narrow(0, 0, wish.shape.front());
  if (!wish.transposed) return tensor;
  // Rows must lie in one piece, to be read in one.
  return empty_weight(tensor.t().sizes(), tensor.scalar_type()).copy_(tensor.t());
}

/// The rows of `tensor` that make up one weight: a view where they lie together, else a copy.
at::Tensor take_part(const at::Tensor& tensor, const WeightPart& part) {
  std::vector<at::Tensor> pieces;
  std::vector<int64_t> shape = tensor.sizes().vec();
  shape.front() = 0;
  for (const RowRange& range : part.rows) {
    pieces.push_back(tensor.narrow(0, range.begin, range.count));
    shape.front() += range.count;
  }
  if (pieces.empty()) return tensor;
  if (pieces.size() == 1) return pieces.front();
  if (!tensor.is_cpu()) return at::cat(pieces, 0);
  at::Tensor together = empty_weight(shape, tensor.scalar_type());
  return at::cat_out(together, pieces, 0);
}

/// bf16 when more than half of the bytes that will be read are.
DType stored_type(const Checkpoint& checkpoint, const ModelDescription& description) {
  uint64_t all = 0, bf16 = 0;
  for (const BoundTensor& bound : description.binding.tensors) {
    const TensorInfo& info = checkpoint.tensors()[bound.tensor];
    all += info.bytes;
    if (info.dtype == DType::bf16) bf16 += info.bytes;
  }
  return 2 * bf16 > all ? DType::bf16 : DType::f32;
}

WeightMap read_weights(Checkpoint& checkpoint, const ModelDescription& description, DType dtype, const Device& device,
                       const Progress& progress) {
  WeightMap weights;
  double total = 0, done = 0;  // bytes
  for (const BoundTensor& bound : description.binding.tensors) {
    total += static_cast<double>(checkpoint.tensors()[bound.tensor].bytes);
  }
  for (const BoundTensor& bound : description.binding.tensors) {
    const TensorWish& wish = description.schema.wishes[bound.wish];
    const TensorInfo& info = checkpoint.tensors()[bound.tensor];
    const auto bytes = static_cast<double>(info.bytes);
    const Progress inner{progress.stop, [&](std::string_view, double fraction) {
                           progress.step("loading", (done + fraction * bytes) / total);
                         }};
    inner.step("loading", 0);
    at::Tensor tensor = read_tensor(checkpoint, info, wish, dtype, inner);
    if (device.on_gpu()) tensor = tensor.to(at::kCUDA);
    for (const WeightPart& part : wish.parts) weights[{part.layer, part.weight, part.expert}] = take_part(tensor, part);
    done += bytes;
  }
  return weights;
}

constexpr int64_t most_ids_without_row = 1024;

/// Ids that have no row in the embedding. A few special tokens are fine until a text holds one: Gemma 3's text models
/// have a tokenizer with a token for images.
int64_t ids_without_row(const Tokenizer& tokenizer, const Architecture& architecture) {
  return std::max<int64_t>(tokenizer.vocab_size() - architecture.vocab_size, 0);
}

void check_tokenizer(const Tokenizer& tokenizer, const Architecture& architecture, const std::string& name) {
  const int64_t rows = architecture.vocab_size, more = ids_without_row(tokenizer, architecture);
  bool special = more <= most_ids_without_row;
  for (int64_t id = rows; special && id < rows + more; ++id) {
    special = !tokenizer.contains(static_cast<int32_t>(id)) || tokenizer.is_special(static_cast<int32_t>(id));
  }
  if (special) return;
  fail("the tokenizer of {} has ids up to {} but the embedding has {} rows; the tokenizer belongs to another model",
       quoted(name), tokenizer.vocab_size() - 1, rows);
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
      if (const int64_t more = ids_without_row(*tokenizer, description.architecture); more > 0) {
        description.notes.push_back(fmt::format(
            "the tokenizer has special tokens with ids up to {}, but the embedding has {} rows: a text that holds one "
            "cannot be run",
            tokenizer->vocab_size() - 1, description.architecture.vocab_size));
      }
    } catch (const Error& error) {
      problem = error.what();
      description.notes.push_back(problem);
    }
  }
  const DType dtype = options.dtype.value_or(stored_type(checkpoint, description));
  if (dtype != DType::f32 && dtype != DType::bf16) {
    fail("weights cannot be held as {}; use f32 or bf16", dtype_name(dtype));
  }
  release_startup_pages();
  WeightMap map =
      with_torch_errors([&] { return read_weights(checkpoint, description, dtype, *options.device, progress); });
  auto model =
      std::make_shared<Model>(description.name, description.architecture,
                              arrange(map, description.architecture, options.linear.value_or(LinearMethod::own)),
                              std::move(tokenizer), options.device);
  model->tokenizer_problem_ = std::move(problem);
  model->notes_ = std::move(description.notes);
  model->parameters_ = description.binding.parameters;
  return model;
}

Model::Model(std::string name, Architecture architecture, Weights weights, std::optional<Tokenizer> tokenizer,
             std::shared_ptr<const Device> device)
    : name_(std::move(name)),
      architecture_(std::make_shared<const Architecture>(std::move(architecture))),
      weights_(std::make_unique<const Weights>(std::move(weights))),
      tokenizer_(std::move(tokenizer)),
      device_(std::move(device)),
      counted_(device_->counts(), MemoryPurpose::weights, storage_bytes(*weights_)) {
  validate(*architecture_);
  require_supported(*architecture_, name_);
  if (tokenizer_) check_tokenizer(*tokenizer_, *architecture_, name_);
}

Model::~Model() = default;

DType Model::dtype() const {
  return weights_->token_embedding.scalar_type() == at::kBFloat16 ? DType::bf16 : DType::f32;
}

std::string_view Model::linear_kernel() const {
  if (device_->on_gpu() || weights_->lm_head.method == LinearMethod::libtorch) return "libtorch";
  return linear_kernel_name(weights_->lm_head, few_tokens + 1);
}

const Tokenizer& Model::tokenizer() const {
  if (!tokenizer_)
    fail("{} cannot turn text into tokens: {}; give token ids with --ids", quoted(name_), tokenizer_problem_);
  return *tokenizer_;
}

}  // namespace headscope
