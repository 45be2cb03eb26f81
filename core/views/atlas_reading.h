#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/views/atlas.h"

namespace headscope {

/// What the numbers of an atlas say.

double metric_value(const AtlasHead&, HeadMetric);
/// "nats", "tokens" or empty for shares.
std::string_view metric_unit(HeadMetric);
/// "mean entropy"
std::string_view metric_text(HeadMetric);
/// "entropy, nats": above a column of numbers.
std::string_view metric_heading(HeadMetric);
/// "1.72", "21.4", "NaN"
std::string metric_number(double value, HeadMetric);

/// The head with the largest value of the metric; nothing when no value is finite.
std::optional<HeadId> largest_head(const AtlasData&, HeadMetric);
/// Mean over the layer's heads that have a finite value; NaN when none has.
double layer_mean(const AtlasLayer&, HeadMetric);

/// "5 layers x 8 query heads, in pairs that read the same KV head. Layer 2, head 5 looks back furthest: ..."
std::string atlas_sentence(const AtlasData&, HeadMetric);

/// Layer, head, KV head and every metric, one a line.
std::string head_tooltip(const AtlasData&, HeadId);

/// Throws Error when the parts of the data do not fit together.
void check_atlas(const AtlasData&);

/// One row a head: layer, head, kv_head, kv_owner and the metrics.
Table atlas_table(const AtlasData&);

}  // namespace headscope
