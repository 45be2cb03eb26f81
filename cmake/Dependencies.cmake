# Third-party libraries, each as one target. All headers are SYSTEM: our warnings are for our code.
include_guard()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Freetype REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)
pkg_check_modules(STB REQUIRED IMPORTED_TARGET stb)

set(HDF5_NO_FIND_PACKAGE_CONFIG_FILE ON)
find_package(HDF5 REQUIRED COMPONENTS C)

if(HEADSCOPE_TESTS)
  find_package(GTest REQUIRED)
endif()
if(HEADSCOPE_WITH_TORCH)
  include(Torch)
endif()
