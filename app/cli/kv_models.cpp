#include "app/cli/kv_models.h"

#include "core/arch/family.h"
#include "core/arch/footprint.h"
#include "core/arch/published.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/io/checkpoint.h"
#include "core/io/limits.h"
#include "core/model/description.h"

namespace headscope::cli {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

/// A folder that says what a model is and holds no weights that could be opened.
bool is_bare(const fs::path& folder) {
  return is_there(folder / "config.json") && !is_there(folder / "model.safetensors") &&
         !is_there(folder / "model.safetensors.index.json");
}

/// The last part of a path that has a name: that of the folder for ".../config.json" and for "models/..".
std::string name_of(fs::path path) {
  path = fs::absolute(path).lexically_normal();
  if (path.filename().empty()) path = path.parent_path();
  if (path.filename() == "config.json") path = path.parent_path();
  return path.extension() == ".json" ? path.stem().string() : path.filename().string();
}

KvModel from_config(const fs::path& file) {
  const std::string source = quoted_path(file);
  Json config = parse_json(read_small_file(file, largest_config), source, {largest_config});
  if (!config.is_object()) fail("{} must hold a JSON object; found {}", source, config.type_name());
  KvModel out;
  // Sizes do not depend on how weights were quantised, only files do.
  if (config.erase("quantization_config") > 0) {
    out.notes.push_back(fmt::format("{}: quantization_config is ignored, weights are counted unquantised", source));
  }
  const Family& family = recognise_family(config, source);
  out.name = name_of(file);
  out.architecture = family.architecture(config, source, out.notes);
  out.parameters = parameters_of(out.architecture);
  out.source = fmt::format("config {}", file.string());
  return out;
}

KvModel from_checkpoint(const fs::path& path) {
  const auto checkpoint = open_checkpoint(path);
  ModelDescription description = describe(*checkpoint);
  KvModel out;
  out.name = std::move(description.name);
  out.architecture = std::move(description.architecture);
  out.parameters = static_cast<int64_t>(description.binding.parameters);
  out.source = fmt::format("checkpoint {}", path.string());
  out.checkpoint = path;
  out.notes = std::move(description.notes);
  return out;
}

/// "gpt2", or "openai-community/gpt2" when that is where it is published: the place itself, or its owner with another
/// of the model's names.
const PublishedModel* published_as(std::string_view given) {
  const size_t slash = given.rfind('/');
  if (slash == std::string_view::npos) return published_of_name(given);
  for (const PublishedModel& model : published_models()) {
    if (model.is_source(given)) return &model;
  }
  const PublishedModel* model = published_of_name(given.substr(slash + 1));
  const bool there = model != nullptr && model->source.substr(0, model->source.rfind('/')) == given.substr(0, slash);
  return there ? model : nullptr;
}

KvModel from_published(const PublishedModel& model, std::string_view given) {
  KvModel out;
  const std::string_view last = given.substr(given.rfind('/') + 1);
  out.name = model.is_called(last) ? last : model.name();
  out.architecture = published_architecture(model, out.name);
  out.parameters = model.parameters;
  out.source = fmt::format("published: {}", model.source);
  return out;
}

}  // namespace

KvModel find_kv_model(const std::string& given) {
  const fs::path path(given);
  if (is_there(path)) {
    if (fs::is_directory(path)) return is_bare(path) ? from_config(path / "config.json") : from_checkpoint(path);
    return path.extension() == ".json" ? from_config(path) : from_checkpoint(path);
  }
  if (const PublishedModel* model = published_as(given)) return from_published(*model, given);
  const std::vector<std::string_view> near = published_names_like(given);
  fail("{} is no file or folder here and no published model{}{}; headscope kv --list names them", quoted(given),
       near.empty() ? "" : "; did you mean ", listed(near));
}

}  // namespace headscope::cli
