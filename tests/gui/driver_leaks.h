#pragma once

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

namespace headscope::gui {

/// While it lives, what is allocated counts as no leak: graphics drivers keep some of what they allocate when they are
/// opened and draw first, and are unloaded before leaks are looked for, so that no suppression by name would find them.
class DriverLeaks {
 public:
#if defined(__SANITIZE_ADDRESS__)
  DriverLeaks() { __lsan_disable(); }
  ~DriverLeaks() { __lsan_enable(); }
#else
  DriverLeaks() = default;
  ~DriverLeaks() {}
#endif
  DriverLeaks(const DriverLeaks&) = delete;
  DriverLeaks& operator=(const DriverLeaks&) = delete;
};

}  // namespace headscope::gui
