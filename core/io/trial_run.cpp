#include "core/io/trial_run.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "core/base/error.h"
#include "core/base/file.h"

namespace headscope {
namespace {

/// Deaths that the action brings about itself. SIGPROF and SIGXCPU end one that computes without end.
constexpr std::array crash_signals{SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS, SIGTRAP, SIGPROF, SIGXCPU};

/// In the copy: a crash shall be silent, leave no core file and reach no handler of the program's.
void prepare_to_crash(const TrialLimits& limits) {
  for (const int number : crash_signals) signal(number, SIG_DFL);
  signal(SIGALRM, SIG_DFL);
  // What a terminal or a supervisor sends to the whole process group is for the original, and no sign of damage.
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) signal(number, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  if (const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC); nowhere >= 0) dup2(nowhere, STDERR_FILENO);
  const itimerval cpu_limit{{0, 0}, {limits.cpu_seconds, 0}};
  setitimer(ITIMER_PROF, &cpu_limit, nullptr);
  alarm(static_cast<unsigned>(limits.total_seconds));
}

TrialEnd end_of(int status) {
  if (WIFEXITED(status)) return WEXITSTATUS(status) == 0 ? TrialEnd::survived : TrialEnd::crashed;
  const int number = WTERMSIG(status);
  if (number == SIGALRM) return TrialEnd::too_slow;
  if (std::find(crash_signals.begin(), crash_signals.end(), number) != crash_signals.end()) return TrialEnd::crashed;
  fail("opening a file was interrupted: the process that checks it was ended by signal {}; try again", number);
}

}  // namespace

TrialEnd trial_run(const std::function<void()>& action, const TrialLimits& limits) {
  const pid_t child = fork();
  if (child < 0) fail("cannot start a process to check a file in: {}", errno_text(errno));
  if (child == 0) {
    prepare_to_crash(limits);
    try {
      action();
    } catch (...) {
      // An exception is an orderly end: it will come again here, where it can be shown.
    }
    _exit(0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) fail("lost the process that a file is checked in: {}", errno_text(errno));
  }
  return end_of(status);
}

}  // namespace headscope
