#include "app/cli/child_process.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "core/base/error.h"
#include "core/base/file.h"

namespace headscope::cli {
namespace {

constexpr int not_started = 127;  // exit code, as in shells
constexpr int text_number = 3;    ///< the descriptor under which the child finds its program's text
constexpr size_t most_unread = 64u << 20;

int checked(int number) {
  if (number < 0) fail("a process could not be started: {}", errno_text(errno));
  return number;
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

#if defined(__x86_64__)
constexpr uint32_t own_calls = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t own_calls = AUDIT_ARCH_AARCH64;
#endif
constexpr uint32_t foreign_numbers = 0x40000000;  ///< from here on calls of another kind (x32)

/// From here on this process and its children can make no socket, by no kind of system call. A second wall behind
/// weights-only loading, so a kernel without it is no failure.
void refuse_network() {
  std::array rules{
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, own_calls, 0, 5),
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, foreign_numbers, 3, 0),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 2, 0),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 1, 0),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
  };
  sock_fprog program{static_cast<unsigned short>(rules.size()), rules.data()};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

/// What the child has open.
struct Streams {
  int input, output, errors, text;
};

/// Becomes the child's program. Runs between fork and exec: system calls only.
[[noreturn]] void become(char* const* arguments, char* const* variables, Streams streams, bool network, pid_t parent) {
  // A group of its own, so that Ctrl-C reaches only us, who then end it; and it ends when we are killed.
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(not_started);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  if (!network) refuse_network();
  dup2(streams.input, STDIN_FILENO);
  dup2(streams.output, STDOUT_FILENO);
  dup2(streams.errors, STDERR_FILENO);
  dup2(streams.text, text_number);
  execve(arguments[0], arguments, variables);
  _exit(not_started);
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) {
    return fmt::format("was ended by signal {} ({}){}", WTERMSIG(status), strsignal(WTERMSIG(status)),
                       WTERMSIG(status) == SIGKILL ? ", perhaps for want of memory" : "");
  }
  if (WEXITSTATUS(status) == not_started) return "could not be started";
  return fmt::format("ended with exit code {} and no result", WEXITSTATUS(status));
}

}  // namespace

/// Where standard streams are closed, a new file gets their number, and dup2 would then keep it from the child.
ChildProcess::Descriptor::Descriptor(int number) : number_(fcntl(checked(number), F_DUPFD_CLOEXEC, text_number + 1)) {
  ::close(number);
  checked(number_);
}

ChildProcess::Descriptor::Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}

void ChildProcess::Descriptor::close() {
  if (number_ >= 0) ::close(std::exchange(number_, -1));
}

ChildProcess::Pipe ChildProcess::make_pipe() {
  std::array<int, 2> ends{-1, -1};
  checked(pipe2(ends.data(), O_CLOEXEC));
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

/// A file in memory, open at its beginning.
ChildProcess::Descriptor ChildProcess::file_of(std::string_view text) {
  Descriptor file(memfd_create("headscope", MFD_CLOEXEC));
  if (!write_all(file.number(), text)) fail("a process could not be started: {}", errno_text(errno));
  lseek(file.number(), 0, SEEK_SET);
  return file;
}

ChildProcess::ChildProcess(const ChildProgram& program) : what_(program.what), path_(program.command.front()) {
  std::vector<std::string> command = program.command, environment = program.environment;
  const std::vector<char*> arguments = pointers(command), variables = pointers(environment);
  const Descriptor text = file_of(program.text);
  const Streams streams{requests_.read_end.number(), answers_.write_end.number(), errors_.number(), text.number()};
  const pid_t parent = getpid();
  process_ = fork();
  if (process_ < 0) fail("{} could not be started: {}", what_, errno_text(errno));
  if (process_ == 0) become(arguments.data(), variables.data(), streams, program.may_use_network, parent);
  requests_.read_end.close();
  answers_.write_end.close();  // so that its end is seen
}

ChildProcess::~ChildProcess() {
  if (process_ <= 0) return;
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
}

Json ChildProcess::answer(const Progress& progress) {
  const std::string line = next_line(progress);
  Json found = parse_json(line, "an answer of " + what_, {line.size()});
  if (!found.is_object()) fail("an answer of {} is not a JSON object, but {}", what_, found.type_name());
  if (found.contains("error")) throw Error(found.at("error").get<std::string>());
  return found;
}

Json ChildProcess::ask(const Json& request, const Progress& progress) {
  if (!write_all(requests_.write_end.number(), request.dump() + "\n")) fail_ended();
  return answer(progress);
}

std::string ChildProcess::next_line(const Progress& progress) {
  for (;;) {
    progress.check();
    if (const size_t end = unread_.find('\n'); end != unread_.npos) {
      std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      return line;
    }
    pollfd readable{answers_.read_end.number(), POLLIN, 0};
    if (poll(&readable, 1, 50) <= 0) continue;
    std::array<char, 4096> block;
    const ssize_t count = read(answers_.read_end.number(), block.data(), block.size());
    if (count <= 0) fail_ended();
    unread_.append(block.data(), static_cast<size_t>(count));
    if (unread_.size() > most_unread) fail("{} answers without end", what_);
  }
}

void ChildProcess::fail_ended() {
  // It has closed its end, so it is ending; one that is not is no use.
  int status = 0;
  const pid_t process = std::exchange(process_, 0);
  for (int waits = 0; process > 0 && waitpid(process, &status, WNOHANG) == 0; ++waits) {
    if (waits == 100) kill(process, SIGKILL);
    poll(nullptr, 0, 20);
  }
  const std::string words = last_words();
  fail("{}, run by {}, {}{}{}", what_, quoted_path(path_), how_it_ended(status), words.empty() ? "" : "; it said ",
       words.empty() ? "" : quoted(words, 200));
}

/// The last line it wrote to standard error.
std::string ChildProcess::last_words() const {
  std::array<char, 2000> tail{};
  const off_t size = lseek(errors_.number(), 0, SEEK_END);
  const off_t begin = std::max<off_t>(0, size - static_cast<off_t>(tail.size()));
  const ssize_t count = pread(errors_.number(), tail.data(), tail.size(), begin);
  std::string text(tail.data(), static_cast<size_t>(std::max<ssize_t>(0, count)));
  text.erase(text.find_last_not_of("\n ") + 1);
  return text.substr(text.find_last_of('\n') + 1);
}

}  // namespace headscope::cli
