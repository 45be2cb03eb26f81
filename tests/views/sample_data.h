#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/views/atlas.h"
#include "core/views/kv.h"
#include "core/views/map.h"

/// Attention-like data for tests and the gallery; the same seed gives the same data.
namespace headscope::sample {

struct Shape {
  int64_t layers = 5, q_heads = 8, kv_heads = 4;
  int64_t tokens = 60;
  int64_t layers_per_cache = 1;  ///< 2: every second layer reads the cache of the one before
};

/// Weights [tokens, tokens] of one head, each row summing to 1: previous-token, sink, broad, local or induction
/// heads, by `seed`.
std::vector<float> attention(int64_t tokens, uint64_t seed);

/// Texts of a short story, repeated with numbers when it is too short.
std::vector<std::string> story(int64_t tokens);

/// Pieces that are hard to draw: long, right-to-left, emoji, control characters, newlines, combining, not UTF-8.
std::vector<std::string> hard_pieces(int64_t tokens);

AtlasData atlas_data(const Shape&);
MapData map_data(const Shape&, int64_t layer, int64_t head);
KvData kv_data(const Shape&);

}  // namespace headscope::sample
