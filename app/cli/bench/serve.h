#pragma once

#include <string>

#include "app/cli/command.h"

namespace headscope::cli::bench {

/// Our side of `bench --only model`, in a process of its own, as bench_eager.py is Hugging Face's: loads the
/// checkpoint, then answers requests on standard input, one JSON object a line on both ways, until there are no more.
///
/// - First it says {loaded_bytes, name}: resident memory with the model loaded, the kernel.
/// - {ids, results}: one pass over these tokens with all statistics and thumbnails: {seconds, peak_bytes}. `results`,
///   unless empty, is a file to write, f32: logits [vocab] of the last position, statistics [statistic_count, layers,
///   heads, tokens] in the order of core/data/run_snapshot.h, thumbnails [layers, heads, cells, cells].
/// - {prefill: ids, steps}: fills a cache that has room for so many tokens more: {}. Then {step: id, results} decodes
///   one token from it: {seconds, read_bytes}. `results`, unless empty, is a file to write, f32: the token's logits
///   [vocab]; for the first step alone.
void serve(const std::string& checkpoint, Context&);

}  // namespace headscope::cli::bench
