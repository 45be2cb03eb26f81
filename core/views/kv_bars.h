#pragma once

#include <span>

#include "core/views/kv_compare.h"
#include "core/views/plot/line_chart.h"

namespace headscope {

/// Parts of the comparisons of KV memory and of decode speed. Internal to these views.

/// The index among the models (what-ifs do not count) of the one that a subject is, or is made from.
size_t kv_model_index(std::span<const KvSubject>, size_t subject);

/// The colour and the mark of the model with this index: no two of 32 have both in common, and models of one mark keep
/// apart for eyes without red or green, too.
Paint kv_paint(size_t model);
MarkShape kv_mark(size_t model);

/// What `kv_paint` and `kv_mark` take for the line of a subject: the model's index, so that its what-ifs have its
/// colour; the subject's own where there is a single model, and none to tell its what-ifs from.
size_t kv_line_style(std::span<const KvSubject>, size_t subject);

/// Bytes per token as horizontal bars from 0, one a row, with the number and, of what-ifs, the part of their model's
/// behind them; what-ifs are outlined and indented. Rows that find no room are counted.
void add_kv_bars(Figure&, const Box& room, const KvCompareData&, const Layout&);

}  // namespace headscope
