#pragma once

#include <filesystem>

namespace headscope {

/// A folder that appears whole or not at all, as AtomicFile does. Fill `temporary()`, then call `commit()`: it is
/// renamed to the target, which must not exist before or be an empty folder. The destructor removes an uncommitted
/// temporary with all that is in it. Files in it must be synced by whoever writes them. Throws Error; one thread at a
/// time.
class AtomicFolder {
 public:
  explicit AtomicFolder(const std::filesystem::path& target);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  const std::filesystem::path& temporary() const { return temporary_; }
  void commit();

 private:
  void require_free() const;

  std::filesystem::path target_, temporary_;
  bool committed_ = false;
};

}  // namespace headscope
