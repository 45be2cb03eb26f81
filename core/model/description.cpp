#include "core/model/description.h"

namespace headscope {

ModelDescription describe(const Checkpoint& checkpoint) {
  ModelDescription description;
  const std::string source = checkpoint.path().string();
  std::filesystem::path path = checkpoint.path();
  if (path.filename().empty()) path = path.parent_path();
  description.name =
      path.filename() == "." ? std::filesystem::canonical(path).filename().string() : path.filename().string();
  description.notes.assign(checkpoint.notes().begin(), checkpoint.notes().end());
  description.family = &recognise_family(checkpoint.config(), source);
  description.architecture = description.family->architecture(checkpoint.config(), source, description.notes);
  description.schema = description.family->schema(description.architecture);
  description.binding = bind_tensors(description.schema, checkpoint.tensors(), source);
  const auto& more = description.binding.notes;
  description.notes.insert(description.notes.end(), more.begin(), more.end());
  return description;
}

}  // namespace headscope
