#include "app/gui/app/device_readout.h"

#include "core/base/error.h"
#include "core/base/text.h"

namespace headscope::gui {
namespace {

std::string text_of(int64_t bytes) { return format_bytes(static_cast<uint64_t>(bytes)); }

/// In the order of a reader's questions, not of the enumeration.
struct Purpose {
  MemoryPurpose purpose;
  const char *name, *meaning;
};
constexpr Purpose purposes[] = {
    {MemoryPurpose::weights, "weights", "Tensors of the models that are open."},
    {MemoryPurpose::kv, "KV cache", "Keys and values that models need to go on, as allocated."},
    {MemoryPurpose::viewer, "run", "Kept only to be looked at: queries, row statistics, older cache rows."},
    {MemoryPurpose::scratch, "scratch", "Room for one call of an attention kernel, given back after it."}};

void add_work(std::vector<ReadoutRow>& rows, const DeviceFacts& facts) {
  rows.push_back({"device", std::string(facts.title), {}, "Where models run and their weights lie."});
  if (facts.run == nullptr) return;
  const RunSnapshot& run = *facts.run;
  rows.push_back({"attention", run.kernel, {}, "Kernels that computed the run: outputs, statistics, thumbnails."});
  if (!facts.map_kernel.empty()) {
    rows.push_back({"map", std::string(facts.map_kernel), {}, "The kernel that computed the cells of the map shown."});
  }
  rows.push_back({"linear layers", run.linear, {}, "Who multiplied weights with many tokens."});
  rows.push_back({"numbers", run.dtype, {}, "Type of the weights and of the cache."});
  if (facts.is_host) {
    rows.push_back({"threads", fmt::format("{}", run.threads), {}, "Threads of the run."});
  }
}

void add_process(std::vector<ReadoutRow>& rows, const DeviceFacts& facts) {
  const MemoryReport& memory = *facts.memory;
  const char* const meaning = facts.is_host
                                  ? "Pages of this process in the machine's memory, as the system counts them: the "
                                    "window and libraries, too. Pages that were never written are not there yet."
                                  : "What the driver counts for this process on its GPUs, contexts and kernels too.";
  if (memory.process_bytes) {
    rows.push_back({"this process", text_of(*memory.process_bytes), {}, meaning});
  } else if (!memory.process_refusal.empty()) {
    rows.push_back({"this process", "not known", {}, memory.process_refusal});
  }
  if (!memory.device_used_bytes || !memory.device_total_bytes) return;
  rows.push_back(
      {"whole GPU", text_of(*memory.device_used_bytes), {}, "In use by all programs, as the driver has it."});
  rows.push_back({"GPU has", text_of(*memory.device_total_bytes), {}, "All of its memory."});
}

void add_memory(std::vector<ReadoutRow>& rows, const DeviceFacts& facts) {
  if (facts.memory == nullptr) return;
  const MemoryReport& memory = *facts.memory;
  if (memory.counted) {
    for (const auto& [purpose, name, meaning] : purposes) {
      const MemoryReport::Tagged& tagged = memory.of(purpose);
      rows.push_back({name, text_of(tagged.bytes), text_of(tagged.peak_bytes), meaning});
    }
    rows.push_back(
        {"all of these", text_of(memory.tagged_bytes()), {}, "Counted where memory is allocated and freed.", true});
  }
  if (memory.untagged_bytes) {
    rows.push_back({"layers",
                    text_of(*memory.untagged_bytes),
                    {},
                    "In use in LibTorch's allocator for none of these: what layers make on their way."});
  }
  if (memory.kept_bytes) {
    rows.push_back({"kept free", text_of(*memory.kept_bytes), {}, "Free, and kept by LibTorch's allocator for later."});
  }
  add_process(rows, facts);
}

std::string computes(const DeviceFacts& facts) {
  if (facts.run == nullptr) return std::string(facts.title);
  const std::string& kernel = facts.map_kernel.empty() ? facts.run->kernel : std::string(facts.map_kernel);
  // Kernels of the CPU are named after it.
  return facts.is_host ? fmt::format("{}  {} threads", kernel, facts.run->threads)
                       : fmt::format("{}  {}", facts.title, kernel);
}

/// What was counted of the system's figure: of this process, else of the whole GPU.
std::string holds(const MemoryReport& memory) {
  const auto system = memory.process_bytes ? memory.process_bytes : memory.device_used_bytes;
  std::string text = memory.counted ? text_of(memory.tagged_bytes()) : "";
  if (system) text += (text.empty() ? "" : " of ") + text_of(*system);
  return text;
}

std::string held(const MemoryReport& memory) {
  std::string text;
  if (memory.counted) text = text_of(memory.tagged_bytes()) + " for weights, caches, runs and scratch";
  const auto add = [&](const char* whose, int64_t bytes) {
    text += fmt::format("{}{} {}", text.empty() ? "" : "; ", whose, text_of(bytes));
  };
  if (memory.process_bytes) {
    add("this process has", *memory.process_bytes);
  } else if (memory.device_used_bytes) {
    add("all programs on the GPU have", *memory.device_used_bytes);
  }
  return text.empty() ? text : text + '.';
}

}  // namespace

DeviceReadout device_readout(const DeviceFacts& facts) {
  DeviceReadout readout;
  readout.computes = computes(facts);
  if (facts.memory != nullptr) {
    readout.holds = holds(*facts.memory);
    readout.held = held(*facts.memory);
  }
  if (!facts.reason.empty()) readout.reason = fmt::format("No GPU is used: {}.", facts.reason);
  add_work(readout.work, facts);
  add_memory(readout.memory, facts);
  return readout;
}

}  // namespace headscope::gui
