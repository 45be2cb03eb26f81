#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/data/memory_report.h"
#include "core/data/run_snapshot.h"

namespace headscope::gui {

/// A line of the readout: numbers with their unit, or words.
struct ReadoutRow {
  std::string name, value;
  std::string most = {};  ///< the largest that it was, or empty
  std::string meaning = {};
  bool sum = false;  ///< of the rows above
};

/// What the window says of the device, in words.
struct DeviceReadout {
  std::string computes;          ///< for the top bar: "cpu/AVX3  2 threads", "NVIDIA H200  cuda"
  std::string holds;             ///< below it: what was counted of the system's figure, "1.16 MiB of 189 MiB"
  std::string held;              ///< the same as a sentence
  std::string reason;            ///< a sentence: why there is no GPU in it, or empty
  std::vector<ReadoutRow> work;  ///< who computed what is shown
  std::vector<ReadoutRow> memory;
};

/// What was read for it; plain values.
struct DeviceFacts {
  std::string_view title = {};  ///< of the device
  bool is_host = true;
  std::string_view reason = {};  ///< why it is the CPU, as a part of a sentence, or empty
  const MemoryReport* memory = nullptr;
  const RunSnapshot* run = nullptr;  ///< that is shown
  std::string_view map_kernel = {};  ///< of the map that is shown, or empty
};
DeviceReadout device_readout(const DeviceFacts&);

}  // namespace headscope::gui
