#pragma once

#include "core/views/kv.h"

namespace headscope {

/// The growing bytes over tokens, in `room`, with axes, the line of allocated bytes, and where the prompt ends; in the
/// full form also the axis' name and the layers' names where they fit, in the compact one neither. Draws nothing where
/// the room is too small. Cost and number of corners depend on layers and windows, not on tokens: where bars would be
/// narrow or many, growth is drawn as areas with corners only where a slope changes. Internal to the KV view.
void add_kv_chart(Figure&, const Box& room, bool compact, const KvData&, const KvState&, const Selection&,
                  const Layout&);

}  // namespace headscope
