#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/arch/family.h"
#include "core/io/checkpoint.h"

namespace headscope {

/// One tensor of the file and the wish of the schema it fulfils.
struct BoundTensor {
  size_t tensor = 0;  ///< index in the file's list
  size_t wish = 0;    ///< index in TensorSchema::wishes
};

/// Where every weight of a model is found in a checkpoint.
struct TensorBinding {
  std::string prefix;                ///< the one that this file's names carry
  std::vector<BoundTensor> tensors;  ///< in the schema's order; each has a supported type and the right shape
  std::vector<std::string> notes;    ///< padded embeddings, unused tensors, which output head is used
  int64_t parameters = 0;            ///< as parameter_count: an lm_head beside tied embeddings is not counted again
};

/// Finds every wish among the file's tensors. Reads headers only. A tensor that is missing, has an element type
/// other than F32, F16 and BF16 or another shape is a problem; one Error tells the first ten, each with name,
/// expected and found, and how many there are. `source` names the file in it.
///
/// Tied embeddings: when the file holds an lm_head although the config ties it, the lm_head is used and a note says
/// so, as transformers 5 does when the two differ (when they are equal it makes no difference). When the file holds
/// only the lm_head of the two, which is what safetensors' save_model leaves, it is bound as the embedding. Untied
/// and none is an Error.
TensorBinding bind_tensors(const TensorSchema&, std::span<const TensorInfo> file, std::string_view source);

}  // namespace headscope
