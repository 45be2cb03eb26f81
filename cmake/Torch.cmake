# LibTorch's CPU libraries as the target `torch`, without find_package(Torch): that one needs a CUDA toolkit and
# starts twice as slowly. HEADSCOPE_TORCH is the folder with include/ and lib/.
include_guard()

if(NOT EXISTS "${HEADSCOPE_TORCH}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch is not in HEADSCOPE_TORCH='${HEADSCOPE_TORCH}': expected lib/libtorch_cpu.so there. "
                      "Run ./run.sh or ./test.sh, which fetch it, or set HEADSCOPE_TORCH to your own LibTorch.")
endif()

# The wheel's libtorch_cpu.so wants libcudart and libcupti, which sit in a sibling package. It carries no search
# path of its own, so ours must be the transitive kind (DT_RPATH).
file(GLOB HEADSCOPE_TORCH_SIBLINGS LIST_DIRECTORIES true "${HEADSCOPE_TORCH}/../nvidia/*/lib")
set(HEADSCOPE_TORCH_RPATH "${HEADSCOPE_TORCH}/lib" ${HEADSCOPE_TORCH_SIBLINGS})

# LibTorch ships its own fmt headers, which would shadow the system's and not link: put the system's first.
get_target_property(fmt_include fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
if(NOT fmt_include)
  set(fmt_include /usr/include)
endif()
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/fmt-first)
file(CREATE_LINK ${fmt_include}/fmt ${CMAKE_BINARY_DIR}/fmt-first/fmt SYMBOLIC)

add_library(torch INTERFACE)
target_include_directories(torch SYSTEM INTERFACE
  ${CMAKE_BINARY_DIR}/fmt-first
  ${HEADSCOPE_TORCH}/include
  ${HEADSCOPE_TORCH}/include/torch/csrc/api/include)
# at::parallel_for is a template in LibTorch's headers, which runs everything on the calling thread where it is compiled
# without OpenMP. The run-time library is LibTorch's own libgomp.so.1, found by the search path below.
target_compile_options(torch INTERFACE -fopenmp)
target_link_options(torch INTERFACE -fopenmp)
target_link_libraries(torch INTERFACE ${HEADSCOPE_TORCH}/lib/libtorch_cpu.so ${HEADSCOPE_TORCH}/lib/libc10.so)
target_link_options(torch INTERFACE "LINKER:--disable-new-dtags" "LINKER:--allow-shlib-undefined")
foreach(dir ${HEADSCOPE_TORCH_RPATH})
  target_link_options(torch INTERFACE "LINKER:-rpath,${dir}")
endforeach()
