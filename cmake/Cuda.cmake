# Everything CUDA is one library, headscope_cuda, which the program opens at run time (docs/cuda.md); nothing links it.
# This file decides whether it is built, enables the language and declares the library's flags.
include_guard()

set(headscope_oldest_nvcc 12.8)
set(HEADSCOPE_CUDA "" CACHE PATH "CUDA toolkit's folder, the one that holds bin/nvcc; empty: the system's")
set(HEADSCOPE_CUDA_ARCHITECTURES "90-real;80-virtual" CACHE STRING "What the kernels are compiled for, as CMAKE_CUDA_ARCHITECTURES")

# nvcc's path and version, or an empty path and why in `reason`.
function(headscope_find_nvcc path version reason)
  if(HEADSCOPE_CUDA)
    set(places PATHS ${HEADSCOPE_CUDA}/bin NO_DEFAULT_PATH)
    set(looked "HEADSCOPE_CUDA='${HEADSCOPE_CUDA}'")
  else()
    set(places HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
    set(looked "PATH, CUDA_HOME or /usr/local/cuda")
  endif()
  unset(nvcc)
  find_program(nvcc nvcc ${places} NO_CACHE)
  set(${path} "" PARENT_SCOPE)
  if(NOT nvcc)
    set(${reason} "there is no nvcc in ${looked}" PARENT_SCOPE)
    return()
  endif()
  execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE text ERROR_VARIABLE text RESULT_VARIABLE failed)
  string(REGEX MATCH "release [0-9.]+, V([0-9.]+)" found "${text}")
  if(failed OR NOT found)
    set(${reason} "${nvcc} does not tell its version" PARENT_SCOPE)
  elseif(CMAKE_MATCH_1 VERSION_LESS headscope_oldest_nvcc)
    set(${reason} "${nvcc} is ${CMAKE_MATCH_1}, and ${headscope_oldest_nvcc} or newer is needed" PARENT_SCOPE)
  elseif(HEADSCOPE_CUDA AND EXISTS ${HEADSCOPE_CUDA}/lib AND NOT EXISTS ${HEADSCOPE_CUDA}/lib64)
    set(${reason} "${HEADSCOPE_CUDA} has no lib64, where nvcc looks: a toolkit of Python packages needs a link lib64 to its lib" PARENT_SCOPE)
  else()
    set(${path} ${nvcc} PARENT_SCOPE)
    set(${version} ${CMAKE_MATCH_1} PARENT_SCOPE)
  endif()
endfunction()

headscope_find_nvcc(headscope_nvcc headscope_nvcc_version headscope_no_cuda)
if(HEADSCOPE_WITH_TORCH AND NOT EXISTS "${HEADSCOPE_TORCH}/lib/libtorch_cuda.so")
  set(headscope_no_cuda "LibTorch in HEADSCOPE_TORCH='${HEADSCOPE_TORCH}' has no lib/libtorch_cuda.so")
endif()
if(NOT headscope_no_cuda AND NOT HEADSCOPE_SANITIZE)
  set(headscope_cuda_default ON)
else()
  set(headscope_cuda_default OFF)
endif()
option(HEADSCOPE_WITH_CUDA "Build the CUDA library" ${headscope_cuda_default})

if(NOT HEADSCOPE_WITH_CUDA)
  if(headscope_no_cuda)
    message(STATUS "CUDA: off, ${headscope_no_cuda}")
  else()
    message(STATUS "CUDA: off")
  endif()
  return()
endif()
if(headscope_no_cuda)
  message(FATAL_ERROR "HEADSCOPE_WITH_CUDA is ON, but ${headscope_no_cuda}. Set HEADSCOPE_CUDA to a CUDA toolkit's "
                      "folder, or build without CUDA by -DHEADSCOPE_WITH_CUDA=OFF.")
endif()

# Before the language is enabled: its check compiles for these architectures, with this host compiler.
set(CMAKE_CUDA_COMPILER ${headscope_nvcc})
set(CMAKE_CUDA_HOST_COMPILER ${CMAKE_CXX_COMPILER})
set(CMAKE_CUDA_ARCHITECTURES ${HEADSCOPE_CUDA_ARCHITECTURES})
enable_language(CUDA)
message(STATUS "CUDA: nvcc ${headscope_nvcc_version} (${headscope_nvcc}) for ${HEADSCOPE_CUDA_ARCHITECTURES}")

find_path(headscope_nvtx nvtx3/nvToolsExt.h PATHS ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES} NO_DEFAULT_PATH NO_CACHE)
if(NOT headscope_nvtx)
  message(STATUS "CUDA: launches have no names in profilers, because the toolkit has no nvtx3/nvToolsExt.h")
endif()

# CMake 3.25 does not know that nvcc has C++20.
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")

add_library(headscope_cuda_flags INTERFACE)
target_include_directories(headscope_cuda_flags INTERFACE ${PROJECT_SOURCE_DIR})
# A bundle for a machine with a GPU holds the library and its variants.
target_compile_options(headscope_cuda_flags INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:--compress-mode=size>")
# Every warning is an error: nvcc's, the host compiler's and ptxas's. ptxas warns of registers that spill to memory and
# of arrays that it cannot hold in registers.
target_compile_options(headscope_cuda_flags INTERFACE
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Werror all-warnings>"
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Xcompiler=-Wall,-Wextra,-Wshadow,-Wconversion,-Wno-sign-conversion,-Werror>"
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Xptxas=-v,-warn-spills,-warn-lmem-usage,-Werror>")

# What ptxas tells of every kernel (-v) is kept beside its object file, for the test cuda.compile_gates.
set(headscope_cuda_launcher ${PROJECT_SOURCE_DIR}/cmake/keep_ptxas_log.sh ${CMAKE_CXX_COMPILER_LAUNCHER})
