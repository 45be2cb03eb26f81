#include "app/cli/python_part.h"

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
#include <cstdlib>
#include <cstring>
#include <utility>

#include "app/cli/find_python.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/io/json.h"

extern "C" {
extern const char headscope_import_pickles[], headscope_import_pickles_end[];
}

namespace headscope::cli {
namespace {

namespace fs = std::filesystem;

constexpr int not_started = 127;  // exit code, as in shells

// ---- the process

/// An open file descriptor, closed at the end.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {
    if (number < 0) fail("the Python part could not be started: {}", errno_text(errno));
  }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() { close(); }

  int number() const { return number_; }
  void close() {
    if (number_ >= 0) ::close(std::exchange(number_, -1));
  }

 private:
  int number_;
};

/// The same open file under a number above the standard streams': where those are closed, a new file gets theirs, and
/// dup2 would then keep it from the child.
Descriptor above_standard_streams(int number) {
  const Descriptor low(number);
  return Descriptor(fcntl(low.number(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

Descriptor memory_file(const char* name) { return above_standard_streams(memfd_create(name, MFD_CLOEXEC)); }

struct Pipe {
  Descriptor read_end, write_end;
};

Pipe make_pipe() {
  std::array<int, 2> ends{-1, -1};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) fail("the Python part could not be started: {}", errno_text(errno));
  Descriptor read_end = above_standard_streams(ends[0]);
  return {std::move(read_end), above_standard_streams(ends[1])};
}

/// The program's text as a file: a command line would show it to everybody who lists the processes.
Descriptor program_text() {
  Descriptor file = memory_file("import_pickles.py");
  for (const char* at = headscope_import_pickles; at < headscope_import_pickles_end;) {
    const ssize_t count = write(file.number(), at, static_cast<size_t>(headscope_import_pickles_end - at));
    if (count <= 0) fail("the Python part could not be started: {}", errno_text(errno));
    at += count;
  }
  lseek(file.number(), 0, SEEK_SET);
  return file;
}

std::vector<std::string> arguments_of(const fs::path& python, const PickleConversion& conversion) {
  // -I: no module is taken from the working folder or from what the environment names. -B: none is compiled to disk.
  std::vector<std::string> arguments{python.native(),
                                     "-I",
                                     "-B",
                                     "-",
                                     std::string(needed_torch_version()),
                                     conversion.out.native(),
                                     conversion.tied ? "tied" : "untied"};
  for (const fs::path& file : conversion.files) arguments.push_back(file.native());
  return arguments;
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

struct Streams {
  int input, output, errors;
};

/// Becomes the child's program. Runs between fork and exec: system calls only.
[[noreturn]] void become(char* const* arguments, char* const* variables, Streams streams, pid_t parent) {
  // A group of its own, so that Ctrl-C reaches only us, who then end it; and it ends when we are killed.
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(not_started);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  refuse_network();
  dup2(streams.input, STDIN_FILENO);
  dup2(streams.output, STDOUT_FILENO);
  dup2(streams.errors, STDERR_FILENO);
  execve(arguments[0], arguments, variables);
  _exit(not_started);
}

/// The running child: its standard output is read here, its standard error afterwards. The destructor ends it.
class PythonPart {
 public:
  PythonPart(const fs::path& python, const PickleConversion& conversion) {
    std::vector<std::string> arguments = arguments_of(python, conversion), variables = python_environment();
    const std::vector<char*> argument_pointers = pointers(arguments), variable_pointers = pointers(variables);
    const Descriptor program = program_text();
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ < 0) fail("the Python part could not be started: {}", errno_text(errno));
    if (pid_ == 0) {
      become(argument_pointers.data(), variable_pointers.data(),
             {program.number(), answers_.write_end.number(), errors_.number()}, parent);
    }
    answers_.write_end.close();  // so that its end is seen
  }
  ~PythonPart() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    wait();
  }
  PythonPart(const PythonPart&) = delete;
  PythonPart& operator=(const PythonPart&) = delete;

  /// The next line of its answers, or nothing when there are no more; looks at the stop token while it waits.
  bool read_line(std::string& line, const Progress& progress) {
    for (;;) {
      progress.check();
      if (const size_t end = unread_.find('\n'); end != unread_.npos) {
        line = unread_.substr(0, end);
        unread_.erase(0, end + 1);
        return true;
      }
      pollfd readable{answers_.read_end.number(), POLLIN, 0};
      if (poll(&readable, 1, 50) <= 0) continue;
      std::array<char, 4096> block;
      const ssize_t count = read(answers_.read_end.number(), block.data(), block.size());
      if (count <= 0) return false;
      unread_.append(block.data(), static_cast<size_t>(count));
      if (unread_.size() > most_unread) fail("the Python part answers without end");
    }
  }

  int wait() {
    int status = 0;
    waitpid(std::exchange(pid_, 0), &status, 0);
    return status;
  }

  /// The last line it wrote to standard error.
  std::string last_words() const {
    std::array<char, 2000> tail{};
    const off_t size = lseek(errors_.number(), 0, SEEK_END);
    const off_t begin = std::max<off_t>(0, size - static_cast<off_t>(tail.size()));
    const ssize_t count = pread(errors_.number(), tail.data(), tail.size(), begin);
    std::string text(tail.data(), static_cast<size_t>(std::max<ssize_t>(0, count)));
    text.erase(text.find_last_not_of("\n ") + 1);
    return text.substr(text.find_last_of('\n') + 1);
  }

 private:
  static constexpr size_t most_unread = 64u << 20;

  Pipe answers_ = make_pipe();
  Descriptor errors_ = memory_file("errors");
  pid_t pid_ = 0;
  std::string unread_;
};

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) {
    return fmt::format("was ended by signal {} ({}){}", WTERMSIG(status), strsignal(WTERMSIG(status)),
                       WTERMSIG(status) == SIGKILL ? ", perhaps for want of memory" : "");
  }
  if (WEXITSTATUS(status) == not_started) return "could not be started";
  return fmt::format("ended with exit code {} and no result", WEXITSTATUS(status));
}

}  // namespace

std::vector<std::string> convert_pickles(const PickleConversion& conversion, const Progress& progress) {
  const fs::path python = find_python("import");
  PythonPart part(python, conversion);
  std::string line;
  while (part.read_line(line, progress)) {
    const Json answer = parse_json(line, "an answer of the Python part", {line.size()});
    if (!answer.is_object()) fail("an answer of the Python part is not a JSON object, but {}", answer.type_name());
    if (answer.contains("error")) throw Error(answer.at("error").get<std::string>());
    if (answer.contains("notes")) return answer.at("notes").get<std::vector<std::string>>();
    progress.step(answer.value("stage", ""), answer.value("fraction", 0.0));
  }
  const std::string end = how_it_ended(part.wait());
  const std::string words = part.last_words();
  fail("the Python part, run by {}, {}{}{}", quoted_path(python), end, words.empty() ? "" : "; it said ",
       words.empty() ? "" : quoted(words, 200));
}

}  // namespace headscope::cli
