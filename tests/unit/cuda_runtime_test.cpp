// The CUDA library itself, with a device or without.
#include <dlfcn.h>
#include <gmock/gmock.h>

#include <fstream>
#include <map>
#include <regex>
#include <thread>

#include "core/data/cuda_library.h"

namespace headscope::test {
namespace {

const CudaLibrary& table() {
  void* library = dlopen(HEADSCOPE_CUDA_FILE, RTLD_NOW);
  if (library == nullptr) throw std::runtime_error(dlerror());
  return *reinterpret_cast<CudaLibraryEntry*>(dlsym(library, cuda_library_entry))();
}

bool driver_is_there() { return dlopen("libcuda.so.1", RTLD_LAZY) != nullptr; }

TEST(CudaRuntime, table) {
  EXPECT_EQ(table().abi_version, cuda_library_abi);
  EXPECT_GE(table().kernel_count, 0);
  EXPECT_STRNE(table().architectures, "");
}

TEST(CudaRuntime, machine_without_a_driver) {
  if (driver_is_there()) GTEST_SKIP() << "this machine has an NVIDIA driver";
  const CudaProbe probe = table().probe();
  EXPECT_EQ(probe.state, CudaProbe::State::no_driver);
  EXPECT_EQ(probe.driver_version, 0);
  EXPECT_GE(probe.runtime_version, 12080);
  EXPECT_TRUE(probe.devices.empty());
  CudaStream stream = nullptr;
  const CudaStatus status = table().create_stream(0, stream);
  EXPECT_EQ(status.code, 35);
  EXPECT_THAT(status.text, ::testing::StartsWith("cudaErrorInsufficientDriver: "));
  CudaMemory memory;
  EXPECT_FALSE(table().memory_info(0, memory).ok());
  EXPECT_FALSE(table().synchronize(nullptr).ok());
  double seconds = 0;
  EXPECT_FALSE(table()
                   .time(
                       0, nullptr, [] { FAIL() << "nothing can be timed"; }, seconds)
                   .ok());
  EXPECT_EQ(open_cuda(HEADSCOPE_CUDA_FILE).refusal, "there is no NVIDIA driver on this machine");
}

TEST(CudaRuntime, one_sentence_from_every_thread) {
  std::vector<std::string> refusals(4);
  std::vector<std::thread> threads;
  for (std::string& refusal : refusals) {
    threads.emplace_back([&refusal] { refusal = open_cuda(HEADSCOPE_CUDA_FILE).refusal; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(refusals, ::testing::Each(refusals.front()));
}

TEST(CudaRuntime, device) {
  const CudaAccess access = open_cuda(HEADSCOPE_CUDA_FILE);
  if (!access.refusal.empty()) GTEST_SKIP() << access.refusal;
  CudaStream stream = nullptr;
  const CudaStatus created = access.library->create_stream(access.device, stream);
  ASSERT_TRUE(created.ok()) << created.text;
  EXPECT_NE(stream, nullptr);
  EXPECT_TRUE(access.library->synchronize(stream).ok());
  CudaMemory memory;
  EXPECT_TRUE(access.library->memory_info(access.device, memory).ok());
  EXPECT_GT(memory.free_bytes, 0u);
  EXPECT_LT(memory.free_bytes, memory.total_bytes);
  double seconds = -1;
  EXPECT_TRUE(access.library
                  ->time(
                      access.device, stream, [] {}, seconds)
                  .ok());
  EXPECT_TRUE(seconds >= 0 && seconds < 1) << seconds;
  EXPECT_TRUE(access.library->destroy_stream(stream).ok());
  // An error that is not sticky, and nothing of it left.
  const CudaStatus wrong = access.library->create_stream(1000, stream);
  EXPECT_THAT(wrong.text, ::testing::StartsWith("cudaErrorInvalidDevice: "));
  EXPECT_FALSE(access.library->is_sticky(wrong.code));
  EXPECT_TRUE(access.library->memory_info(access.device, memory).ok());
}

/// The comment of each error in CUDA's own header, as one line.
std::map<int, std::string> documented_errors() {
  std::ifstream file(HEADSCOPE_CUDA_INCLUDE "/driver_types.h");
  const std::regex error(R"(^\s+cudaError\w+\s*=\s*(\d+),)");
  std::map<int, std::string> errors;
  std::string line, comment;
  while (std::getline(file, line)) {
    std::smatch found;
    if (line.find("/**") != std::string::npos) comment.clear();
    if (std::regex_search(line, found, error)) {
      errors[std::stoi(found[1])] = comment;
      comment.clear();
    }
    comment += std::regex_replace(line, std::regex(R"(^\s*\*?\s*)"), " ");
  }
  return errors;
}

TEST(CudaRuntime, sticky_errors_are_those_that_cuda_documents) {
  const std::map<int, std::string> errors = documented_errors();
  ASSERT_GT(errors.size(), 100u);
  int sticky = 0;
  for (const auto& [code, comment] : errors) {
    // Memory that broke (214) and links that broke (220) are documented without a word about what comes after.
    const bool expected = comment.find("must be terminated") != std::string::npos || code == 214 || code == 220;
    EXPECT_EQ(table().is_sticky(code), expected) << code << comment;
    sticky += expected ? 1 : 0;
  }
  EXPECT_GE(sticky, 13);
  EXPECT_FALSE(table().is_sticky(0));
}

}  // namespace
}  // namespace headscope::test
