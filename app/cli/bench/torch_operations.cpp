#include "app/cli/bench/torch_operations.h"

#include <algorithm>
#include <memory>

#include <ATen/record_function.h>
#include <c10/util/ThreadLocalDebugInfo.h>

namespace headscope::cli::bench {
namespace {

/// LibTorch calls a plain function for each operation; this is how it finds the list.
struct Names : c10::DebugInfoBase {
  std::vector<std::string> list;
};

constexpr auto kind = c10::DebugInfoKind::TEST_INFO;

std::unique_ptr<at::ObserverContext> note_name(const at::RecordFunction& function) {
  auto& list = static_cast<Names*>(c10::ThreadLocalDebugInfo::get(kind))->list;
  if (std::find(list.begin(), list.end(), function.name()) == list.end()) list.emplace_back(function.name());
  return nullptr;
}

class Recording {
 public:
  Recording()
      : handle_(at::addThreadLocalCallback(at::RecordFunctionCallback(note_name).scopes({at::RecordScope::FUNCTION}))) {
  }
  ~Recording() { at::removeCallback(handle_); }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

 private:
  at::CallbackHandle handle_;
};

}  // namespace

std::vector<std::string> torch_operations(const std::function<void()>& work) {
  const auto names = std::make_shared<Names>();
  const c10::DebugInfoGuard guard(kind, names);
  const Recording recording;
  work();
  return names->list;
}

}  // namespace headscope::cli::bench
