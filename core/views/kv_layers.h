#pragma once

#include "core/views/kv.h"

namespace headscope {

/// A bar for each owning layer, as high as what it allocates, filled as far as that is used, over the layers' numbers;
/// the selected one is marked. Regions "kv/bar/<layer>". Returns the width it takes: 0, and nothing drawn, where the
/// room is too small for bars of 2 px. Internal to the KV view.
double add_kv_layers(Figure&, const Box& room, const KvData&, const Selection&, const Layout&);

/// "cache of layer 2 after 36 tokens", its bytes, and what a window keeps.
std::string kv_layer_tooltip(const KvLayerBytes&, int64_t tokens);

}  // namespace headscope
