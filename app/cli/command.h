#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

#include <CLI/CLI.hpp>

#include "core/base/progress.h"

namespace headscope::cli {

/// Options that every command understands.
struct GlobalOptions {
  std::string device = "auto";
  std::string dtype = "auto";
  int threads = 0;  ///< 0: as many as the machine has
  uint64_t seed = 0;
  bool json = false;
  bool quiet = false;
};

/// What a command gets when it runs. `output` collects standard output, which is written only on success.
struct Context {
  GlobalOptions global;
  std::stop_token stop;
  std::string output;

  /// Progress that draws a bar on a terminal (standard error), unless --quiet.
  Progress progress() const;
};

/// What a parsed subcommand wants done; set by the callback of the chosen one.
using Action = std::function<void(Context&)>;

/// One function a subcommand: declares its options and, when chosen, sets `action`. main.cpp lists them all.
void add_info(CLI::App& app, Action& action);
void add_run(CLI::App& app, Action& action);
void add_kv(CLI::App& app, Action& action);
void add_render(CLI::App& app, Action& action);
void add_pack(CLI::App& app, Action& action);
void add_unpack(CLI::App& app, Action& action);
void add_import(CLI::App& app, Action& action);
void add_verify(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_gui(CLI::App& app, Action& action);

}  // namespace headscope::cli
