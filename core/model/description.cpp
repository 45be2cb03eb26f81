#include "core/model/description.h"

namespace headscope {

ModelDescription describe(const Checkpoint& checkpoint) {
  ModelDescription description;
  const std::string source = checkpoint.path().string();
  // "." and "models/.." have no name of their own; a link keeps the name the user gave it.
  std::filesystem::path path = checkpoint.path();
  if (path.filename().empty()) path = path.parent_path();
  if (path.filename() == "." || path.filename() == "..") path = std::filesystem::canonical(path);
  description.name = path.filename().string();
  description.notes.assign(checkpoint.notes().begin(), checkpoint.notes().end());
  const bool folder = std::filesystem::is_directory(checkpoint.path());
  const std::string config = folder ? (checkpoint.path() / "config.json").string() : source;
  description.family = &recognise_family(checkpoint.config(), config);
  description.architecture = description.family->architecture(checkpoint.config(), config, description.notes);
  description.schema = description.family->schema(description.architecture);
  description.binding = bind_tensors(description.schema, checkpoint.tensors(), source);
  const auto& more = description.binding.notes;
  description.notes.insert(description.notes.end(), more.begin(), more.end());
  return description;
}

}  // namespace headscope
