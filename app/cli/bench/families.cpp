#include "app/cli/bench/gpu.h"

namespace headscope::cli::bench {

std::span<const Family> families(bool of_gpu) {
  static constexpr Family list[] = {
      {"attention", "forward of a prompt, with and without statistics", bench_attention},
      {"decode", "one query row over a cache", bench_decode},
      {"tile", "parts of a 131,072-token map at several zooms", bench_tiles},
      {"statistics", "statistics of the maps of many heads, in a pass over Q and K", bench_map_statistics},
      {"divergence", "how far apart the maps of a layer's heads are, all pairs", bench_divergence},
      {"linear", "linear layers of a prompt and of one token", bench_linear},
      {"model", "whole models beside Hugging Face", bench_model},
  };
  static constexpr Family gpu[] = {
      {"attention", "forward of a prompt in bf16, with all statistics", bench_gpu_attention},
      {"decode", "one query row over a cache in bf16", bench_gpu_decode},
      {"tile", "parts of a 131,072-token map at several zooms", bench_gpu_tiles},
      {"statistics", "statistics of the maps of all heads, in a pass over Q and K", bench_gpu_map_statistics},
      {"divergence", "how far apart the maps of a layer's heads are, all pairs", bench_gpu_divergence},
      {"model", "a whole model and its memory", bench_gpu_model},
  };
  if (of_gpu) return gpu;
  return list;
}

}  // namespace headscope::cli::bench
