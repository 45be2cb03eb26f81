#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/views/atlas.h"
#include "core/views/head.h"
#include "core/views/kv.h"
#include "core/views/kv_compare.h"
#include "core/views/kv_speed.h"
#include "core/views/map.h"
#include "core/views/sharing.h"
#include "core/views/tokens.h"

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
SharingData sharing_data(const Shape&);
/// The same with another kind of cache: keys or values that are made when read (`rotated`: by rope), latents with a
/// rope key of 4, and windows of the layers, which are repeated (0: none).
SharingData sharing_kind(const Shape&, Stored, bool rotated, const std::vector<int64_t>& windows = {0});
/// So many models of 1 to 12 KV heads, every second with windows, each followed by two what-ifs; the last two models
/// have equal caches.
KvCompareData kv_compare_data(size_t models);
/// The same subjects, measured: speeds are made up.
KvSpeedData kv_speed_data(size_t models);
/// Made from an atlas, which takes long for large shapes; with five next tokens.
HeadData head_data(const AtlasData&, const Shape&, int64_t layer, int64_t head);
/// The first token is special; three fifths are the prompt. `width` is that of the flow.
TokensData tokens_data(const std::vector<std::string>& pieces, double width, const TextMeasurer&);

}  // namespace headscope::sample
