#include <csignal>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <new>
#include <optional>
#include <thread>

#include <CLI/CLI.hpp>

#include "app/gui/app/workspace.h"
#include "app/gui/loop.h"
#include "app/gui/paint/imgui_misuse.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "core/model/cuda_device.h"

namespace headscope::gui {
namespace {

constexpr int exit_usage = 1, exit_failure = 2, exit_internal = 70, exit_signal = 128;

struct Options {
  std::vector<std::string> models;
  std::string size = "1280x800", device = "auto", theme, prompt, prompt_file, workspace;
  double scale = 1;
  int64_t cut = 0;
  int threads = 0;
  std::optional<std::string> memory_budget;
  bool no_run = false;
  LoopOptions loop;
  CLI::Option* prompt_option = nullptr;
  CLI::Option* size_option = nullptr;
};

/// SIGINT and SIGTERM end the loop, so that the workspace is saved; taken by a thread of their own.
class SignalWatch {
 public:
  SignalWatch() {
    std::signal(SIGPIPE, SIG_IGN);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::thread([this, signals] {
      int number = 0;
      sigwait(&signals, &number);
      received_ = number;
      stop_ = true;
      pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
      {
        const std::lock_guard lock(mutex_);
        if (platform_ != nullptr) platform_->wake();
      }
      while (true) pause();
    }).detach();
  }
  /// Woken by a signal; null when it is about to go.
  void watch(Platform* platform) {
    const std::lock_guard lock(mutex_);
    platform_ = platform;
  }
  const std::atomic<bool>& stop() const { return stop_; }
  int exit_code() const { return exit_signal + received_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int> received_{0};
  std::mutex mutex_;
  Platform* platform_ = nullptr;
};

/// What others know of the app and the platform ends with this, however the loop ends.
class Announced {
 public:
  Announced(SignalWatch& signals, Platform& platform, App& app) : signals_(signals) {
    signals.watch(&platform);
    on_imgui_misuse([&app](const std::string& what) { app.log.error("window: " + what); });
  }
  ~Announced() {
    on_imgui_misuse({});
    signals_.watch(nullptr);
  }
  Announced(const Announced&) = delete;
  Announced& operator=(const Announced&) = delete;

 private:
  SignalWatch& signals_;
};

class ImguiContext {
 public:
  ImguiContext() {
    ImGui::CreateContext();
    ImGuiIO& io = ImGui::GetIO();
    io.IniFilename = nullptr;  // panel sizes are in the workspace
    io.LogFilename = nullptr;
    io.IniSavingRate = 0.001f;  // at once: no later frame may come
    io.ConfigFlags |= ImGuiConfigFlags_DockingEnable;
    io.ConfigWindowsMoveFromTitleBarOnly = true;
  }
  ~ImguiContext() { ImGui::DestroyContext(); }
  ImguiContext(const ImguiContext&) = delete;
  ImguiContext& operator=(const ImguiContext&) = delete;
};

std::pair<int, int> parse_size(const std::string& text) {
  int width = 0, height = 0, used = 0;
  if (std::sscanf(text.c_str(), "%dx%d%n", &width, &height, &used) != 2 || static_cast<size_t>(used) != text.size() ||
      width < 320 || height < 240 || width > 16384 || height > 16384) {
    throw UsageError(
        fmt::format("--size {} must be WIDTHxHEIGHT from 320x240 to 16384x16384, as in 1280x800", quoted(text)));
  }
  return {width, height};
}

/// What the command line asks for lies over what the workspace remembers.
void apply(const Options& options, App& app) {
  for (size_t i = 0; i < options.models.size(); ++i) {
    // As it is when it has been opened: what follows is meant for this model.
    const std::string path = whole_path(options.models[i]);
    SlotState& slot = app.state.slots[i];
    if (slot.path != path) slot = {};
    slot.path = path;
  }
  SlotState& first = app.state.slots[0];
  if (options.prompt_option->count() > 0) app.set_prompt(ModelSlot::a, options.prompt);
  if (!options.prompt_file.empty()) app.set_prompt(ModelSlot::a, read_small_file(options.prompt_file, 1 << 20));
  if (options.cut > 0) first.cut = options.cut;
  if (!options.theme.empty()) app.state.theme = options.theme == "light" ? Theme::light : Theme::dark;
}

void open_models(const Options& options, App& app) {
  const ModelSlot active = options.models.empty() ? app.state.active : ModelSlot::a;
  for (const ModelSlot slot : model_slots) {
    const size_t index = index_of(slot);
    const bool named = index < options.models.size();
    const std::string path = named ? options.models[index] : options.models.empty() ? app.state.slots[index].path : "";
    if (!path.empty()) app.open(slot, path);
  }
  app.state.active = active;
}

void open_window_and_run(Options& options, SignalWatch& signals) {
  auto [width, height] = parse_size(options.size);
  if (!options.loop.headless && options.workspace.empty()) options.workspace = usual_workspace().string();
  options.loop.workspace = options.workspace;
  const LoadedWorkspace loaded = load_workspace(options.workspace);
  if (loaded.state && !options.loop.headless && options.size_option->count() == 0) {
    width = static_cast<int>(std::clamp<int64_t>(loaded.state->width, smallest_width, largest_side));
    height = static_cast<int>(std::clamp<int64_t>(loaded.state->height, smallest_height, largest_side));
  }

  std::optional<int64_t> query_bytes;
  if (options.memory_budget) query_bytes = parse_bytes(*options.memory_budget, "--memory-budget");

  const ImguiContext imgui;
  const auto platform =
      options.loop.headless ? open_headless(width, height, options.scale) : open_window({"HeadScope", width, height});
  const ChosenDevice chosen = choose_device(options.device);
  App app(
      {options.threads, !options.no_run, chosen.device, chosen.reason, query_bytes, [&platform] { platform->wake(); }});
  const Announced announced(signals, *platform, app);
  if (loaded.state) app.state = *loaded.state;
  if (!loaded.problem.empty()) {
    app.log.error(loaded.problem);
    app.show(app.state.active, {"The saved workspace could not be read", loaded.problem, true, {}, {}, true});
  }
  if (!chosen.note.empty()) {
    app.log.add(Log::Level::warning, chosen.note);
    app.show(app.state.active, {"No GPU is used", chosen.reason + '.', false, {}, {}, true});
  }
  apply(options, app);
  Window window(app, *platform);
  open_models(options, app);
  run_loop(app, window, *platform, options.loop, signals.stop());
}

int report(const std::string& sentence, int code) {
  std::fprintf(stderr, "headscope-gui: %s\n", sentence.c_str());
  return code;
}

void add_options(CLI::App& cli, Options& options) {
  cli.add_option("MODEL", options.models, "Up to two: Hugging Face folders or .h5 files")
      ->expected(0, 2)
      ->option_text("[A [B]]");
  cli.add_flag("--headless", options.loop.headless, "Draw off-screen, without a display");
  options.size_option = cli.add_option("--size", options.size, "WIDTHxHEIGHT of the window in pixels");
  options.size_option->capture_default_str();
  cli.add_option("--scale", options.scale, "Off-screen: the monitor's content scale")->check(CLI::Range(0.5, 4.0));
  cli.add_option("--script", options.loop.script, "File of commands to play")->check(CLI::ExistingFile);
  cli.add_option("--shot", options.loop.shot, "Write the window as PNG when nothing is left to do, then end");
  cli.add_option("--workspace", options.workspace, "File that keeps the window's state");
  cli.add_option("--theme", options.theme, "dark or light")->check(CLI::IsMember({"dark", "light"}));
  options.prompt_option = cli.add_option("--prompt", options.prompt, "Text to run in the first model");
  cli.add_option("--prompt-file", options.prompt_file, "File with the text to run")
      ->check(CLI::ExistingFile)
      ->excludes(options.prompt_option);
  cli.add_option("--cut", options.cut, "Run the first so many tokens of the prompt")->check(CLI::PositiveNumber);
  cli.add_flag("--no-run", options.no_run, "Open models without running the prompt");
  cli.add_option("--device", options.device, "Where models run: auto, cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  cli.add_option("--threads", options.threads, "Threads; 0 takes as many as the machine has")
      ->check(CLI::Range(0, 1024));
  cli.add_option(
      "--memory-budget", options.memory_budget,
      "How much each run may keep so that maps can be shown, as in 2GiB, 500MB or 0; what has no room is made again "
      "when "
      "it is looked at. Without it: all on the CPU, on a GPU half of what is free");
  cli.add_option("--frame-times", options.loop.frame_times, "Write the times of frames as JSON at the end");
  cli.footer("Example: headscope-gui models/gpt2 --prompt \"The cat sat\"");
}

int run(int argc, char** argv) {
  CLI::App cli("HeadScope's window: attention maps, heads and KV memory of transformer checkpoints.", "headscope-gui");
  cli.set_version_flag("--version", "headscope-gui " HEADSCOPE_VERSION);
  Options options;
  add_options(cli, options);
  static SignalWatch signals;  // its thread outlives main's return
  try {
    cli.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return cli.exit(error) == 0 ? 0 : exit_usage;
  }
  try {
    open_window_and_run(options, signals);
  } catch (const UsageError& error) {
    return report(error.what(), exit_usage);
  } catch (const Error& error) {
    return report(error.what(), exit_failure);
  } catch (const std::bad_alloc&) {
    return report("there is not enough memory; the workspace was saved", exit_failure);
  } catch (const std::exception& error) {
    return report(fmt::format("internal error: {}", error.what()), exit_internal);
  }
  return signals.stop() ? signals.exit_code() : 0;
}

}  // namespace
}  // namespace headscope::gui

int main(int argc, char** argv) { return headscope::gui::run(argc, argv); }
