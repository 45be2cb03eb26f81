#include <algorithm>
#include <array>
#include <memory>
#include <system_error>

#include "app/cli/command.h"
#include "app/cli/model_access.h"
#include "app/cli/python_part.h"
#include "app/cli/terminal.h"
#include "core/base/atomic_folder.h"
#include "core/base/text.h"
#include "core/io/limits.h"
#include "core/io/pickled_weights.h"
#include "core/io/safetensors.h"

namespace headscope::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string source, out;
};

struct Imported {
  uint64_t tensors = 0, parameters = 0;
  std::vector<std::string> notes;
};

/// What stands beside the weights and is copied as it is.
constexpr std::array companion_names{
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
};

void copy_companions(const fs::path& from, const fs::path& to) {
  for (const char* name : companion_names) {
    std::error_code ignored;
    if (!fs::exists(fs::symlink_status(from / name, ignored))) continue;
    write_file_atomically(to / name, read_small_file(from / name, largest_tokenizer));
  }
}

/// Tied weights are written once where the config says so; twice is right in any case.
bool may_be_tied(const fs::path& folder) {
  const fs::path file = folder / "config.json";
  if (!fs::exists(file)) return false;
  const Json config = parse_json(read_small_file(file, largest_config), quoted_path(file), {largest_config});
  return config.is_object() && config.value("tie_word_embeddings", Json()) == Json(true);
}

/// Counts what was written, which must be a file that our own reader accepts.
void count_tensors(const fs::path& file, Imported& imported) {
  const SafetensorsHeader header = read_safetensors_header(InputFile(file));
  imported.tensors = header.tensors.size();
  for (const TensorInfo& tensor : header.tensors) {
    const bool is_weight = tensor.dtype == DType::f32 || tensor.dtype == DType::f16 || tensor.dtype == DType::bf16;
    if (is_weight) imported.parameters += static_cast<uint64_t>(tensor.elements());
  }
}

Imported import_weights(const Options& options, const Progress& progress) {
  const PickledWeights weights = find_pickled_weights(options.source);
  AtomicFolder to(options.out);
  copy_companions(weights.folder, to.temporary());
  const fs::path file = to.temporary() / "model.safetensors";
  Imported imported;
  imported.notes = convert_pickles({weights.files, file, may_be_tied(to.temporary())}, progress);
  if (!fs::exists(to.temporary() / "config.json")) {
    imported.notes.push_back("there is no config.json beside the weights: put one into the new folder to open it");
  }
  count_tensors(file, imported);
  to.commit();
  return imported;
}

void import_checkpoint(const Options& options, Context& context) {
  const Imported imported = import_weights(options, context.progress());
  print_notes(context, imported.notes);
  if (context.global.json) {
    context.output = json_text({{"out", options.out},
                                {"tensors", imported.tensors},
                                {"parameters", imported.parameters},
                                {"notes", imported.notes}});
    return;
  }
  context.output = fmt::format("wrote {}: {} tensors, {} parameters\n", options.out, format_count(imported.tensors),
                               format_count(imported.parameters));
}

}  // namespace

void add_import(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("import", "Convert pickle checkpoints (.bin, .pt) to a safetensors folder");
  command->add_option("DIR", options->source, "Folder with pytorch_model.bin or its shards, or one .bin or .pt file")
      ->required();
  command->add_option("OUT", options->out, "The folder to make")->required();
  command->footer(
      "Only weights are unpickled, by PyTorch in a process of its own without network; HEADSCOPE_PYTHON names another\n"
      "Python than the one that came with LibTorch.\n\n"
      "Example: headscope import models/gpt2-pickled models/gpt2");
  command->callback(
      [options, &action] { action = [options](Context& context) { import_checkpoint(*options, context); }; });
}

}  // namespace headscope::cli
