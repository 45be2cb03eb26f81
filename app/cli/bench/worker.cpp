#include "app/cli/bench/worker.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "core/base/error.h"
#include "core/base/file.h"

namespace headscope::cli::bench {
namespace {

constexpr int program_number = 3;  ///< the descriptor that the process finds its program under

int checked(int number) {
  if (number < 0) fail("a process for the benchmark could not be started: {}", errno_text(errno));
  return number;
}

/// The same open file under a number that the child's own do not need.
int moved_up(int number) {
  const int high = fcntl(checked(number), F_DUPFD_CLOEXEC, 16);
  close(number);
  return checked(high);
}

std::array<int, 2> make_pipe() {
  std::array<int, 2> ends{-1, -1};
  checked(pipe2(ends.data(), O_CLOEXEC));
  return {moved_up(ends[0]), moved_up(ends[1])};
}

bool write_all(int number, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = write(number, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    text.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

/// A group of its own, so that Ctrl-C reaches only us, who then end it; signals as a program expects them.
class Attributes {
 public:
  Attributes() {
    posix_spawnattr_init(&attributes_);
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &defaults);
    posix_spawnattr_setpgroup(&attributes_, 0);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~Attributes() { posix_spawnattr_destroy(&attributes_); }
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

class FileActions {
 public:
  FileActions() { posix_spawn_file_actions_init(&actions_); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  void give(int ours, int theirs) { posix_spawn_file_actions_adddup2(&actions_, ours, theirs); }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

}  // namespace

Worker::Worker(std::string what, std::vector<std::string> command, std::vector<std::string> environment,
               std::string_view program)
    : what_("the process of " + what) {
  const std::array<int, 2> requests = make_pipe(), answers = make_pipe();
  requests_ = requests[1];
  answers_ = answers[0];
  errors_ = moved_up(memfd_create("errors", MFD_CLOEXEC));
  const int text = moved_up(memfd_create("program", MFD_CLOEXEC));
  write_all(text, program);
  lseek(text, 0, SEEK_SET);
  FileActions files;
  files.give(requests[0], STDIN_FILENO);
  files.give(answers[1], STDOUT_FILENO);
  files.give(errors_, STDERR_FILENO);
  files.give(text, program_number);
  const Attributes attributes;
  const int failed = posix_spawn(&process_, command.front().c_str(), files.get(), attributes.get(),
                                 pointers(command).data(), pointers(environment).data());
  for (const int theirs : {requests[0], answers[1], text}) close(theirs);
  if (failed == 0) return;
  for (const int ours : {requests_, answers_, errors_}) close(ours);
  fail("{} could not be started: {}", what_, errno_text(failed));
}

Worker::~Worker() {
  for (const int ours : {requests_, answers_, errors_}) close(ours);
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
}

/// The last line that it wrote to standard error.
std::string Worker::last_words() const {
  std::array<char, 2000> tail{};
  const off_t size = lseek(errors_, 0, SEEK_END);
  const off_t begin = std::max<off_t>(0, size - static_cast<off_t>(tail.size()));
  const ssize_t count = pread(errors_, tail.data(), tail.size(), begin);
  std::string text(tail.data(), static_cast<size_t>(std::max<ssize_t>(0, count)));
  text.erase(text.find_last_not_of("\n ") + 1);
  return text.substr(text.find_last_of('\n') + 1);
}

Json Worker::answer(const Progress& progress) {
  for (;;) {
    progress.check();
    if (const size_t end = unread_.find('\n'); end != unread_.npos) {
      const std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      Json found = parse_json(line, what_, {line.size()});
      if (found.contains("error")) throw Error(found.at("error").get<std::string>());
      return found;
    }
    pollfd readable{answers_, POLLIN, 0};
    if (poll(&readable, 1, 50) <= 0) continue;
    std::array<char, 4096> block;
    const ssize_t count = read(answers_, block.data(), block.size());
    if (count <= 0) fail("{} ended without an answer; it said {}", what_, quoted(last_words(), 300));
    unread_.append(block.data(), static_cast<size_t>(count));
  }
}

Json Worker::ask(const Json& request, const Progress& progress) {
  if (!write_all(requests_, request.dump() + "\n")) {
    fail("{} has ended; it said {}", what_, quoted(last_words(), 300));
  }
  return answer(progress);
}

}  // namespace headscope::cli::bench
