#include "tests/gui/x_server.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include <poll.h>

namespace headscope::gui {

XServer::XServer(int width, int height) {
  if (!has_program("Xvfb")) {
    missing = "Xvfb is not installed";
    return;
  }
  int ends[2];
  if (pipe(ends) != 0) {
    missing = "no pipe";
    return;
  }
  const std::string size = std::to_string(width) + "x" + std::to_string(height) + "x24", end = std::to_string(ends[1]);
  process_ = fork();
  if (process_ == 0) {
    close(ends[0]);
    execlp("Xvfb", "Xvfb", "-displayfd", end.c_str(), "-screen", "0", size.c_str(), "-nolisten", "tcp", nullptr);
    _exit(127);
  }
  close(ends[1]);
  // It writes the number of its display when it is ready.
  std::string number;
  pollfd ready{ends[0], POLLIN, 0};
  char c = 0;
  while (poll(&ready, 1, 20000) > 0 && read(ends[0], &c, 1) == 1 && c != '\n') number += c;
  close(ends[0]);
  if (number.empty()) {
    missing = "Xvfb does not start";
  } else {
    setenv("DISPLAY", (":" + number).c_str(), 1);
  }
}

XServer::~XServer() {
  unsetenv("DISPLAY");
  if (process_ <= 0) return;
  kill(process_, SIGTERM);
  waitpid(process_, nullptr, 0);
}

bool has_program(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::stringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access((std::filesystem::path(folder) / program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

Background::Background(const std::string& command_line) {
  process_ = fork();
  if (process_ == 0) {
    execl("/bin/sh", "sh", "-c", command_line.c_str(), nullptr);
    _exit(127);
  }
}

Background::~Background() {
  if (process_ > 0) waitpid(process_, &status_, 0);
}

bool Background::is_running() {
  if (process_ <= 0) return false;
  if (waitpid(process_, &status_, WNOHANG) == 0) return true;
  process_ = -1;
  return false;
}

}  // namespace headscope::gui
