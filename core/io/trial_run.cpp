#include "core/io/trial_run.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "core/base/error.h"
#include "core/base/file.h"

namespace headscope {
namespace {

/// In the copy: a crash shall be silent, leave no core file and reach no handler of the program's.
void prepare_to_crash(int cpu_seconds) {
  for (const int number : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGPROF, SIGALRM}) {
    signal(number, SIG_DFL);
  }
  signal(SIGINT, SIG_IGN);  // Ctrl-C is for the original, and no sign of damage
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  if (const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC); nowhere >= 0) dup2(nowhere, STDERR_FILENO);
  const itimerval limit{{0, 0}, {cpu_seconds, 0}};
  setitimer(ITIMER_PROF, &limit, nullptr);
  alarm(static_cast<unsigned>(10 * cpu_seconds));
}

}  // namespace

bool survives_trial_run(const std::function<void()>& action, int cpu_seconds) {
  const pid_t child = fork();
  if (child < 0) fail("cannot start a process to check a file in: {}", errno_text(errno));
  if (child == 0) {
    prepare_to_crash(cpu_seconds);
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
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace headscope
