#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/arch/architecture.h"

namespace headscope {

/// What the sharing figure draws for a cache, and the words for it. Internal to that view.

/// A cell of a KV head: a part of its row in the cache, or what is made from that when it is read.
struct KvCell {
  std::string_view letters;  ///< "K", "V", "K=V", "latent"
  bool stored = true;        ///< false: made when read
  double width = 13;         ///< px with letters in it
};

/// Keys first; a latent before its rope key.
std::vector<KvCell> kv_cells(const Architecture&, const KvStore&);
/// Px of all cells with letters, and what parts them.
double width_of(const std::vector<KvCell>&);
inline constexpr double cell_gap = 1;  ///< px between the cells of a KV head

/// What the figure says about its signs: cells, or, without any, what `sign` stands for.
struct SharingKeyItem {
  enum class Sign { query_head, cells, window } sign;
  std::vector<KvCell> cells;
  std::string text;
  double width() const;  ///< px it takes at most, and what parts it from the next
};

/// Of all kinds of cache that the model has, each once, what is stored before what is made; of windows where there are
/// some.
std::vector<SharingKeyItem> sharing_key(const Architecture&);
inline constexpr double window_sign_width = 28;

/// "last 4,096" or, where a layer sees everything, "all".
std::string window_text(const Layer&);
bool has_windows(const Architecture&);

/// "; only values are stored", or what else a cache leaves out; empty for keys and values, latents, and mixed models.
std::string_view stored_remark(const Architecture&);

}  // namespace headscope
