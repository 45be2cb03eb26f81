#pragma once

#include <string>
#include <vector>

#include "core/io/json.h"
#include "core/views/figure.h"
#include "core/views/plot/heading.h"
#include "core/views/selection.h"

namespace headscope {

/// The cache of one owning layer, as measured now.
struct KvLayerBytes {
  int64_t layer = 0;
  uint64_t bytes_per_token = 0;
  uint64_t used = 0;       ///< bytes of written rows
  uint64_t allocated = 0;  ///< bytes of its buffers
  int64_t window = 0;      ///< tokens that are kept at most; 0: all
};

struct KvData {
  RunFacts facts;
  std::string equation;                     ///< "1,280 B per token = 2 x 5 layers x 4 KV heads x 8 x 4 B"
  int64_t prompt_tokens = 0;                ///< of facts.tokens; the rest was generated
  std::vector<KvLayerBytes> layers;         ///< owning layers, ascending
  std::vector<uint64_t> allocated_history;  ///< bytes allocated after each of facts.tokens tokens, or empty
  uint64_t as_mha_bytes = 0;                ///< used bytes if each query head had its own K and V; 0: not given
  uint64_t as_mqa_bytes = 0;                ///< used bytes with one KV head in each layer; 0: not given
};

struct KvState {
  bool allocated = true;    ///< draw the allocated bytes; else the axis ends at the used ones
  bool comparisons = true;  ///< say what MHA and MQA would hold
};

Json to_json(const KvState&);
/// Throws Error naming an unknown key or a value that does not fit.
KvState kv_state(const Json&);

/// KV cache bytes over tokens, stacked by owning layer, prompt and generated tokens parted by a line, with the
/// equation for this model. The last step is as measured; earlier ones follow from bytes per token, and the
/// figure says so if the two disagree. Below 200 px of height it is a strip: no heading, words left, chart right, and
/// between them, where it is wide enough, a bar for each owning layer: what is used of what is allocated now. Regions
/// "kv/layer/<layer>", and in the strip "kv/equation" and "kv/bar/<layer>". Throws Error when the data contradicts itself.
Figure kv(const KvData&, const KvState&, const Selection&, const Layout&);

}  // namespace headscope
