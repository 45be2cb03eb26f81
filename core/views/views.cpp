#include "core/views/views.h"

#include <array>

namespace headscope {

std::span<const ViewInfo> views() {
  static constexpr std::array list{
      ViewInfo{"atlas", "Atlas",
               "all heads at once: a small map and a number for each, grouped by the KV head they read"},
      ViewInfo{"map", "Map", "one head's attention map: which token looks at which"},
      ViewInfo{"kv", "KV memory", "bytes of KV cache by owning layer, token by token"},
      ViewInfo{"head", "Head", "one head's map and numbers beside even attention and all other heads", false},
      ViewInfo{"sharing", "Sharing", "which KV head each query head reads, and which layers share a cache", false},
      ViewInfo{"tokens", "Tokens", "the prompt and what was generated, token by token", false},
  };
  return list;
}

}  // namespace headscope
