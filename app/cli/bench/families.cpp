#include "app/cli/bench/bench.h"

namespace headscope::cli::bench {

std::span<const Family> families() {
  static constexpr Family list[] = {
      {"attention", "forward of a prompt, with and without statistics", bench_attention},
      {"decode", "one query row over a cache", bench_decode},
      {"tile", "parts of a 131,072-token map at several zooms", bench_tiles},
      {"statistics", "statistics of the maps of many heads, in a pass over Q and K", bench_map_statistics},
      {"divergence", "how far apart the maps of a layer's heads are, all pairs", bench_divergence},
      {"linear", "linear layers of a prompt and of one token", bench_linear},
      {"model", "whole models beside Hugging Face", bench_model},
  };
  return list;
}

}  // namespace headscope::cli::bench
