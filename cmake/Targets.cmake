# How this project declares its targets: one helper for libraries, one for tests.
include_guard()

add_library(headscope_flags INTERFACE)
target_compile_options(headscope_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wno-restrict -Werror
  -fpch-preprocess)  # without it ccache cannot cache what uses a precompiled header
target_include_directories(headscope_flags INTERFACE ${PROJECT_SOURCE_DIR})
if(HEADSCOPE_SANITIZE)
  target_compile_options(headscope_flags INTERFACE
    -fsanitize=${HEADSCOPE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
    -Wno-maybe-uninitialized)  # GCC loses track of std::optional in instrumented code
  target_link_options(headscope_flags INTERFACE -fsanitize=${HEADSCOPE_SANITIZE})
endif()

# headscope_library(name SOURCES a.cpp ... LINKS target ...)
function(headscope_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ${ARG_LINKS} PRIVATE headscope_flags)
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
endfunction()

# headscope_test(name LABEL unit SOURCES a.cpp ... LINKS target ...): one GoogleTest program, each test known to ctest.
function(headscope_test name)
  cmake_parse_arguments(ARG "" "LABEL" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE headscope_flags ${ARG_LINKS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    HEADSCOPE_SOURCE_DIR="${PROJECT_SOURCE_DIR}" HEADSCOPE_REAL_DATA="${PROJECT_SOURCE_DIR}/../shared/real-data")
  gtest_discover_tests(${name} TEST_PREFIX "${name}." NO_PRETTY_VALUES DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS "${ARG_LABEL}" SKIP_REGULAR_EXPRESSION "\\[  SKIPPED \\]" TIMEOUT 300)
endfunction()
