#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "core/base/error.h"
#include "core/base/file.h"

namespace headscope::cli::bench {

/// A new folder of our own, removed with what is in it at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_((std::filesystem::temp_directory_path() / "headscope-bench-XXXXXX").native()) {
    if (mkdtemp(path_.data()) == nullptr)
      fail("no folder could be made in {}", quoted_path(std::filesystem::path(path_).parent_path()));
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace headscope::cli::bench
