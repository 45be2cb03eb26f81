#include "app/cli/python_part.h"

#include "app/cli/child_process.h"
#include "app/cli/find_python.h"

extern "C" {
extern const char headscope_import_pickles[], headscope_import_pickles_end[];
}

namespace headscope::cli {
namespace {

std::vector<std::string> command_of(const PickleConversion& conversion) {
  // -I: no module is taken from the working folder or from what the environment names. -B: none is compiled to disk.
  std::vector<std::string> command{find_python("import").native(),
                                   "-I",
                                   "-B",
                                   "/dev/fd/3",
                                   std::string(needed_torch_version()),
                                   conversion.out.native(),
                                   conversion.tied ? "tied" : "untied"};
  for (const std::filesystem::path& file : conversion.files) command.push_back(file.native());
  return command;
}

}  // namespace

std::vector<std::string> convert_pickles(const PickleConversion& conversion, const Progress& progress) {
  ChildProcess part({"the Python part",
                     command_of(conversion),
                     python_environment(),
                     {headscope_import_pickles, headscope_import_pickles_end},
                     false});
  for (;;) {
    const Json answer = part.answer(progress);
    if (answer.contains("notes")) return answer.at("notes").get<std::vector<std::string>>();
    progress.step(answer.value("stage", ""), answer.value("fraction", 0.0));
  }
}

}  // namespace headscope::cli
