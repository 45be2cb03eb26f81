#include <memory>

#include "app/cli/command.h"
#include "core/base/error.h"
#include "core/io/checkpoint.h"

namespace headscope::cli {
namespace {

struct Options {
  std::string model, out;
};

using Conversion = void (*)(Checkpoint&, const std::filesystem::path&, const Progress&);

void convert(const Options& options, Conversion conversion, Context& context) {
  if (context.global.dtype != "auto") {
    fail(
        "pack and unpack copy tensors as they are stored: leave out --dtype {}; f32 or bf16 is chosen when a model "
        "runs",
        context.global.dtype);
  }
  const auto checkpoint = open_checkpoint(options.model);
  conversion(*checkpoint, options.out, context.progress());
  context.output = fmt::format("wrote {}\n", options.out);
}

CLI::App* add_conversion(CLI::App& app, Action& action, const char* name, const char* description, const char* target,
                         Conversion conversion) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(name, description);
  command->add_option("MODEL", options->model, "Hugging Face folder or .h5 file")->required();
  command->add_option("OUT", options->out, target)->required();
  command->callback([options, conversion, &action] {
    action = [options, conversion](Context& context) { convert(*options, conversion, context); };
  });
  return command;
}

}  // namespace

void add_pack(CLI::App& app, Action& action) {
  add_conversion(app, action, "pack", "Put a checkpoint, its config and tokenizer into one .h5 file",
                 "The .h5 file to write", pack_checkpoint)
      ->footer("Example: headscope pack models/gpt2 gpt2.h5");
}

void add_unpack(CLI::App& app, Action& action) {
  add_conversion(app, action, "unpack", "Turn a checkpoint into a Hugging Face folder", "The folder to make",
                 unpack_checkpoint)
      ->footer("Example: headscope unpack gpt2.h5 models/gpt2-again");
}

}  // namespace headscope::cli
