#pragma once

#include <memory>

#include "core/arch/architecture.h"
#include "core/views/figure.h"
#include "core/views/plot/heading.h"
#include "core/views/selection.h"

namespace headscope {

struct SharingData {
  std::shared_ptr<const Architecture> architecture;  ///< never null
  ModelSlot slot = ModelSlot::a;
};

/// How query heads share KV heads and layers share caches, from the architecture alone: a row for each layer, query
/// heads as dots above the KV head they read. A layer that reads another one's cache has no KV dots: an arrow leads
/// from it to its owner. Where not all layers fit, layers that are alike become one row ("0-31") and, should even that
/// not do, the figure says how many are shown. A small figure without a title, for a side panel: fills width x height.
/// Regions "sharing/<layer>/<q_head>"; of a row of several layers, the selected one's, else the first one's. Heads
/// narrower than 3 px have one region for each KV head, that of its first query head.
/// Throws Error when a layer's heads do not fit its cache (validate() holds for every Model).
Figure sharing(const SharingData&, const Selection&, const Layout&);

/// The height, at most `most`, in which `sharing` shows all it has to at this width, without empty room below.
double sharing_height(const SharingData&, double width, double most);

}  // namespace headscope
