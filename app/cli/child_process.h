#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/progress.h"
#include "core/io/json.h"

namespace headscope::cli {

struct ChildProgram {
  std::string what;                      ///< names it in messages: "the Python part"
  std::vector<std::string> command;      ///< a path, and arguments
  std::vector<std::string> environment;  ///< NAME=value
  /// What the process can read as /dev/fd/3: its program, which a command line would show to everybody.
  std::string_view text = {};
  bool may_use_network = true;
};

/// A process that tells what it finds, one JSON object a line on its standard output, and may be asked by such lines on
/// its standard input. The destructor ends it; it ends, too, when the thread that started it does. One thread uses it,
/// in a program that ignores SIGPIPE.
class ChildProcess {
 public:
  /// Throws Error.
  explicit ChildProcess(const ChildProgram&);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// Its next answer, an object. Throws Error with its sentence when the answer is {error}, with how it ended when
  /// there is none, and Cancelled when a stop is requested meanwhile.
  Json answer(const Progress&);
  Json ask(const Json& request, const Progress&);

 private:
  /// An open file descriptor, closed at the end.
  class Descriptor {
   public:
    /// Takes the open file `number` over, under a number that neither standard streams nor the program's text have.
    explicit Descriptor(int number);
    Descriptor(Descriptor&& other) noexcept;
    Descriptor& operator=(Descriptor&&) = delete;
    ~Descriptor() { close(); }
    int number() const { return number_; }
    void close();

   private:
    int number_;
  };
  struct Pipe {
    Descriptor read_end, write_end;
  };
  static Pipe make_pipe();
  static Descriptor file_of(std::string_view text);
  std::string next_line(const Progress&);
  [[noreturn]] void fail_ended();
  std::string last_words() const;

  std::string what_, path_;
  Pipe requests_ = make_pipe(), answers_ = make_pipe();
  Descriptor errors_ = file_of("");
  int process_ = 0;
  std::string unread_;
};

}  // namespace headscope::cli
