#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/arch/architecture.h"

namespace headscope {

/// Another way to share the KV cache of a model. What it does not name stays as the model has it, with one exception:
/// KV heads that are named alone (mha, gqa-4, mqa) are those of every layer, each with a cache of keys and values.
struct Scheme {
  std::string name;                      ///< for people: "SharedKV GQA-2"
  std::optional<int64_t> kv_heads = {};  ///< of an owning layer; 0: one for each query head
  std::optional<int64_t> cla = {};       ///< the owner is each layer with i % cla == 0
  std::optional<int64_t> owners = {};    ///< so many owning layers, spaced as MLKV spaces them (kv-variants.md 1.1)
  std::optional<Stored> stored = {};
};

/// "mha", "gqa-8", "mqa", "mlkv-4x3" (4 layers of 3 heads), "cla-2", "sharedkv", "slim", "mla", or several joined:
/// "sharedkv-cla-2-gqa-4". Letters of either case. Throws UsageError for another text, and for parts that exclude each
/// other: two of one kind, heads beside the latent that serves all, slim with fewer KV heads than query heads.
Scheme parse_scheme(std::string_view text);

/// One scheme of each kind that fits the model and changes its cache: MHA, GQA, MQA, MLKV, CLA-2, SharedKV, MLA. GQA
/// gets the most KV heads up to 8 that divide the query heads; MLKV a third of the layers and a quarter of the heads,
/// as the 4x3 of 12x12 in its paper.
std::vector<Scheme> usual_schemes(const Architecture&);

/// The model with its cache shared so: layers, query heads, head size, windows and feed-forward as they are, owners and
/// stores changed. It is for sizes: nobody trained its weights. A head's size is that of its values; of a model with
/// latents that is what a head makes of them (128 in DeepSeek V3, for keys, too). MLA's latent has 4 x head size and
/// its rope key half a head (DeepSeek's 512 + 64 of 128). A cache that several layers read has the longest of their
/// windows, none if one has none. Passes validate(). Throws Error where the scheme does not fit the model.
Architecture what_if(const Architecture&, const Scheme&);

/// Whether both hold the same numbers of each token: same owners, heads, widths, windows and what is stored.
bool same_cache(const Architecture&, const Architecture&);

}  // namespace headscope
