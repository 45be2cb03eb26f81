#pragma once

#include <string>

#include <sys/types.h>

namespace headscope::gui {

/// A virtual X server of its own; DISPLAY names it while it runs.
class XServer {
 public:
  XServer(int width, int height);
  ~XServer();
  XServer(const XServer&) = delete;
  XServer& operator=(const XServer&) = delete;

  std::string missing;  ///< why there is none

 private:
  pid_t process_ = -1;
};

/// Whether `program` is on the PATH.
bool has_program(const std::string& program);

/// Runs a command line in the background; the end of the scope waits for it.
class Background {
 public:
  explicit Background(const std::string& command_line);
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  bool is_running();
  bool succeeded() const { return status_ == 0; }

 private:
  pid_t process_ = -1;
  int status_ = -1;
};

}  // namespace headscope::gui
