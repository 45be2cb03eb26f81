#pragma once

#include <optional>
#include <span>

#include "core/data/workspace.h"

namespace headscope {

/// Numbers of the host as the kernels of a device read them: where they are, or a copy that lives as long as this.
template <class T>
class OnDevice {
 public:
  OnDevice(const Device& device, std::span<const T> numbers, void* stream = nullptr,
           MemoryPurpose purpose = MemoryPurpose::scratch)
      : data_(numbers.data()) {
    if (device.is_host() || numbers.empty()) return;
    copy_.emplace(numbers.size_bytes(), device, stream, purpose);
    data_ = reinterpret_cast<const T*>(copy_->span().data());
    device.copy(copy_->span().data(), numbers.data(), numbers.size_bytes(), stream);
  }
  const T* data() const { return data_; }

 private:
  std::optional<Workspace> copy_;
  const T* data_;
};

/// Room for numbers that kernels of a device write, on one stream, and the host reads: one and the same where the
/// device is the host.
template <class T>
class FromDevice {
 public:
  FromDevice(const Device& device, std::span<T> numbers, void* stream = nullptr)
      : device_(device), numbers_(numbers), stream_(stream) {
    if (!device.is_host()) memory_.emplace(numbers.size_bytes(), device, stream);
  }
  T* data() { return memory_ ? reinterpret_cast<T*>(memory_->span().data()) : numbers_.data(); }
  /// Gives the kernels what the host's numbers are now.
  void send() {
    if (memory_) device_.copy(memory_->span().data(), numbers_.data(), numbers_.size_bytes(), stream_);
  }
  /// Waits for what the stream writes, and brings it.
  void fetch() {
    if (memory_) device_.copy(numbers_.data(), memory_->span().data(), numbers_.size_bytes(), stream_);
  }

 private:
  const Device& device_;
  std::span<T> numbers_;
  void* stream_;
  std::optional<Workspace> memory_;
};

}  // namespace headscope
