#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/progress.h"
#include "core/io/json.h"

namespace headscope::cli::bench {

/// A process that answers requests, one JSON object a line on both ways (serve.h). The destructor ends it; it ends by
/// itself, too, when this process does.
class Worker {
 public:
  /// Starts `command`. What is in `program`, unless it is empty, the process can read as /dev/fd/3. `what` names it in
  /// messages. Throws Error.
  Worker(std::string what, std::vector<std::string> command, std::vector<std::string> environment,
         std::string_view program = {});
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Its next answer. Throws Error with its sentence when the answer is {error} or the process ended, Cancelled when a
  /// stop is requested meanwhile.
  Json answer(const Progress&);
  Json ask(const Json& request, const Progress&);

 private:
  std::string last_words() const;

  std::string what_;
  int requests_ = -1, answers_ = -1, errors_ = -1;
  int process_ = 0;
  std::string unread_;
};

}  // namespace headscope::cli::bench
