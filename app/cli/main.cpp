#include <charconv>
#include <csignal>
#include <cstdio>
#include <new>
#include <thread>

#include "app/cli/command.h"
#include "app/cli/device.h"

namespace headscope::cli {
namespace {

constexpr int exit_usage = 1, exit_failure = 2, exit_internal = 70, exit_signal = 128;

/// SIGINT and SIGTERM become a stop request, taken by a thread of its own, so that work unwinds and temporary files
/// are removed. A second signal ends the program at once.
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
      stop_.request_stop();
      pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
      while (true) pause();
    }).detach();
  }
  std::stop_token token() const { return stop_.get_token(); }
  int exit_code() const { return exit_signal + received_; }

 private:
  std::stop_source stop_;
  std::atomic<int> received_{SIGINT};
};

/// CLI11 would take -1 and 2^64 as other numbers.
std::string whole_number(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? "" : "must be a number from 0 to 2^64 - 1";
}

void add_global_options(CLI::App& app, GlobalOptions& global) {
  app.add_option("--device", global.device, "Where models run: auto, cpu or cuda (an NVIDIA GPU)")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  app.add_option("--dtype", global.dtype,
                 "Type of weights, linear layers and KV cache: f32 or bf16 (auto: bf16 for bf16 files, else f32). "
                 "With kv: the type that its formula takes (auto: f32)")
      ->check(CLI::IsMember({"auto", "f32", "bf16", "f16"}));
  app.add_option("--threads", global.threads, "Threads; 0 takes as many as the machine has")
      ->check(CLI::Range(0, 1024));
  app.add_option("--seed", global.seed, "Seed of everything random")->check(whole_number);
  app.add_flag("--json", global.json, "Print JSON");
  app.add_flag("--quiet", global.quiet, "No progress, no notes");
}

int report(const char* sentence, int code) {
  std::fprintf(stderr, "headscope: %s\n", sentence);
  return code;
}

int perform(const Action& action, Context& context, const SignalWatch& signals) {
  try {
    check_device(context.global);
    action(context);
  } catch (const Cancelled&) {
    return report("stopped", signals.exit_code());
  } catch (const UsageError& error) {
    return report(error.what(), exit_usage);
  } catch (const Error& error) {
    return report(error.what(), exit_failure);
  } catch (const std::bad_alloc&) {
    return report(
        "there is not enough memory for this; close other programs, or use a shorter prompt or a smaller model",
        exit_failure);
  } catch (const std::exception& error) {
    return report(fmt::format("internal error: {}", error.what()).c_str(), exit_internal);
  }
  if (std::fwrite(context.output.data(), 1, context.output.size(), stdout) != context.output.size() ||
      std::fflush(stdout) != 0) {
    return report("standard output was closed before everything was written", exit_failure);
  }
  return 0;
}

int run(int argc, char** argv) {
  CLI::App app(
      "HeadScope opens transformer checkpoints, shows what each attention head attends to and what the KV "
      "cache holds.",
      "headscope");
  app.set_version_flag("--version", "headscope " HEADSCOPE_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  app.get_formatter()->column_width(34);
  static SignalWatch signals;  // its thread outlives main's return
  Context context;
  context.stop = signals.token();
  add_global_options(app, context.global);
  Action action;
  for (const auto add :
       {add_info, add_run, add_kv, add_render, add_pack, add_unpack, add_import, add_bench, add_verify, add_gui}) {
    add(app, action);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_usage;
  }
  return perform(action, context, signals);
}

}  // namespace
}  // namespace headscope::cli

int main(int argc, char** argv) { return headscope::cli::run(argc, argv); }
