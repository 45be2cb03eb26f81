#include "core/data/cuda_library.h"

#include <dlfcn.h>
#include <gmock/gmock.h>

#include <cstdlib>

#include "tests/unit/io_support.h"

namespace headscope::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

class CudaLibraryLoader : public ::testing::Test {
 protected:
  ~CudaLibraryLoader() override {
    unsetenv("HEADSCOPE_STAND_IN");
    unsetenv("HEADSCOPE_CUDA_LIBRARY");
  }
  static CudaAccess with(const char* state) {
    setenv("HEADSCOPE_STAND_IN", state, 1);
    return open_cuda(HEADSCOPE_STAND_IN);
  }
};

// ---- files

TEST_F(CudaLibraryLoader, missing_file) {
  TempFolder folder;
  const CudaAccess access = open_cuda(folder / "none.so");
  EXPECT_EQ(access.library, nullptr);
  EXPECT_THAT(access.refusal, AllOf(HasSubstr("could not be loaded"), HasSubstr("none.so"), HasSubstr("No such file")));
  EXPECT_FALSE(access.no_driver);
}

TEST_F(CudaLibraryLoader, file_that_is_no_library) {
  TempFolder folder;
  put_file(folder / "text.so", "hello");
  EXPECT_THAT(open_cuda(folder / "text.so").refusal, AllOf(HasSubstr("could not be loaded"), HasSubstr("text.so")));
  EXPECT_THAT(open_cuda(folder.path()).refusal, HasSubstr("could not be loaded"));
}

TEST_F(CudaLibraryLoader, file_that_is_cut_short) {
  TempFolder folder;
  const std::string whole = file_content(HEADSCOPE_STAND_IN);
  // Inside the first header the system's loader says so itself; from there on it would crash.
  for (const size_t size : {size_t{0}, size_t{3}, size_t{63}}) {
    put_file(folder / "cut.so", std::string_view(whole).substr(0, size));
    EXPECT_THAT(open_cuda(folder / "cut.so").refusal, HasSubstr("could not be loaded")) << size;
  }
  for (const size_t size : {size_t{64}, size_t{4096}, whole.size() / 2, whole.size() - 1}) {
    put_file(folder / "cut.so", std::string_view(whole).substr(0, size));
    EXPECT_THAT(open_cuda(folder / "cut.so").refusal, AllOf(HasSubstr("is cut short"), HasSubstr("cut.so"))) << size;
  }
}

TEST_F(CudaLibraryLoader, name_without_a_folder_is_of_this_folder) {
  // This one the system would find.
  EXPECT_THAT(open_cuda("libm.so.6").refusal, AllOf(HasSubstr("could not be loaded"), HasSubstr("libm.so.6")));
}

TEST_F(CudaLibraryLoader, other_library) {
  EXPECT_THAT(open_cuda(HEADSCOPE_NO_ENTRY).refusal,
              AllOf(HasSubstr("is not HeadScope's CUDA library"), HasSubstr(cuda_library_entry)));
}

TEST_F(CudaLibraryLoader, library_of_another_version) {
  EXPECT_THAT(open_cuda(HEADSCOPE_OTHER_ABI).refusal,
              HasSubstr(fmt::format("its interface is {}, and {} is needed", cuda_library_abi + 1, cuda_library_abi)));
}

// ---- what the probe found

TEST_F(CudaLibraryLoader, usable_device) {
  const CudaAccess access = with("usable");
  EXPECT_EQ(access.refusal, "");
  ASSERT_NE(access.library, nullptr);
  EXPECT_EQ(access.device, 0);
  EXPECT_EQ(access.device_name, "NVIDIA H200");
}

TEST_F(CudaLibraryLoader, old_device_beside_a_usable_one_is_passed_over) {
  const CudaAccess access = with("mixed");
  ASSERT_NE(access.library, nullptr);
  EXPECT_EQ(access.device, 1);
  EXPECT_EQ(access.device_name, "NVIDIA H200");
}

TEST_F(CudaLibraryLoader, each_reason_has_its_sentence) {
  EXPECT_EQ(with("no_driver").refusal, "there is no NVIDIA driver on this machine");
  EXPECT_EQ(with("driver_too_old").refusal,
            "the NVIDIA driver is too old: it knows CUDA 12.4, and CUDA 13.0 is needed; update the driver");
  EXPECT_EQ(with("no_device").refusal, "the NVIDIA driver finds no GPU, or CUDA_VISIBLE_DEVICES hides it");
  EXPECT_EQ(with("device_too_old").refusal,
            "\"Tesla T4\" is too old: it has compute capability 7.5, and 8.0 is needed");
  EXPECT_THAT(with("failed").refusal, AllOf(HasSubstr("the NVIDIA driver does not work"),
                                            HasSubstr("cudaErrorSystemDriverMismatch"), Not(HasSubstr("\x1b"))));
  for (const char* state : {"no_driver", "driver_too_old", "no_device", "device_too_old", "failed"}) {
    const CudaAccess access = with(state);
    EXPECT_EQ(access.library, nullptr) << state;
    EXPECT_EQ(access.no_driver, state == std::string_view("no_driver")) << state;
  }
}

// ---- where it is looked for

TEST_F(CudaLibraryLoader, places) {
  EXPECT_THAT(cuda_library_places("/opt/headscope/bin"),
              ElementsAre("/opt/headscope/bin/libheadscope_cuda.so", "/opt/headscope/lib/libheadscope_cuda.so",
                          "/opt/lib/libheadscope_cuda.so"));
  EXPECT_THAT(cuda_library_places("/b/release/app/cli"), ::testing::Contains("/b/release/lib/libheadscope_cuda.so"));
}

TEST_F(CudaLibraryLoader, variable_names_the_file) {
  setenv("HEADSCOPE_CUDA_LIBRARY", HEADSCOPE_STAND_IN, 1);
  setenv("HEADSCOPE_STAND_IN", "usable", 1);
  EXPECT_EQ(open_cuda().refusal, "");
  setenv("HEADSCOPE_CUDA_LIBRARY", "/nowhere/none.so", 1);
  EXPECT_THAT(open_cuda().refusal, HasSubstr("/nowhere/none.so"));
}

TEST_F(CudaLibraryLoader, without_a_driver_nothing_is_loaded) {
  if (void* driver = dlopen("libcuda.so.1", RTLD_LAZY); driver != nullptr) {
    dlclose(driver);
    GTEST_SKIP() << "this machine has an NVIDIA driver";
  }
  const CudaAccess access = open_cuda();
  EXPECT_EQ(access.refusal, "there is no NVIDIA driver on this machine");
  EXPECT_TRUE(access.no_driver);
  void* library = dlopen(cuda_library_file.data(), RTLD_LAZY | RTLD_NOLOAD);
  EXPECT_EQ(library, nullptr);
}

}  // namespace
}  // namespace headscope::test
