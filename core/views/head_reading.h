#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "core/views/head.h"

namespace headscope {

/// What the numbers of a head say. Internal to the head's card.

/// One number of a head, beside its range.
struct HeadMeasure {
  std::string_view id;    ///< "entropy": of its region and its row in the table
  std::string_view name;  ///< as drawn
  std::string_view unit;  ///< "nats", "tokens" or empty for shares
  int decimals;
  double HeadNumbers::*value;
  double most;  ///< right end of its bar
};

/// The measures that `data` has numbers of, top to bottom.
std::vector<HeadMeasure> head_measures(const HeadData&);

/// "1.72 nats", "NaN"
std::string measure_text(const HeadMeasure&, double value);

/// "reads KV head 2 of layer 0 with head 4", or "... with 1 other" when the others are not `named`.
std::string sharing_text(const HeadData&, bool named);

/// How the head differs most from even attention, in a sentence.
std::string head_sentence(const HeadData&);

/// Throws Error when the parts of the data do not fit together.
void check_head(const HeadData&);

/// One row a measure: value, unit, what even attention gives.
Table head_table(const HeadData&);

}  // namespace headscope
