# The kernels: compiled by nvcc for the library, and as C++ for the emulator.
set(headscope_cuda_sources
  attention.cu
  divergence.cu
  divergence_error.cu
  divergence_rows.cu
  divergence_sample.cu
  few_rows.cu
  forward.cu
  map_statistics.cu
  split_planes.cu
  tiles.cu)
