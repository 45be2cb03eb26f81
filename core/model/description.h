#pragma once

#include <string>
#include <vector>

#include "core/arch/binding.h"
#include "core/arch/family.h"
#include "core/io/checkpoint.h"

namespace headscope {

/// What the headers of a checkpoint tell: no tensor data is read.
struct ModelDescription {
  std::string name;  ///< last part of the path
  const Family* family = nullptr;
  Architecture architecture;
  TensorSchema schema;
  TensorBinding binding;
  std::vector<std::string> notes;
};

/// Recognises the family, reads the config and matches the tensors. Throws Error for anything inconsistent.
ModelDescription describe(const Checkpoint&);

}  // namespace headscope
