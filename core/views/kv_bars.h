#pragma once

#include "core/views/kv_compare.h"

namespace headscope {

/// Parts of the comparison of KV memory. Internal to that view.

/// The index among the models (what-ifs do not count) of the one that a subject is, or is made from.
size_t kv_model_index(const KvCompareData&, size_t subject);

/// The colour of the model with this index; they repeat after eight.
Paint kv_paint(size_t model);

/// Bytes per token as horizontal bars from 0, one a row, with the number and, of what-ifs, the part of their model's
/// behind them; what-ifs are outlined and indented. Rows that find no room are counted.
void add_kv_bars(Figure&, const Box& room, const KvCompareData&, const Layout&);

}  // namespace headscope
