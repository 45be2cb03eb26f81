#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/io/json.h"
#include "core/views/figure.h"
#include "core/views/plot/heading.h"
#include "core/views/selection.h"
#include "core/views/token_flow.h"

namespace headscope {

struct TokensData {
  RunFacts facts;
  std::shared_ptr<const TokenFlow> flow;  ///< the tokens, broken into lines of the figure's width; null: none
  int64_t prompt_tokens = 0;              ///< of the flow's tokens; the rest was generated
  /// The selected query's attention over the first weights.size() tokens, or empty. Drawn as a strip under each chip,
  /// on the scale of the maps: logarithmic from 1 / (16 n) to 1 with n = facts.tokens, or the flow's where that is 0.
  std::vector<float> weights;
};

struct TokensState {
  int64_t first_line = 0;  ///< scroll position; moved back where the last line would leave room below
};

Json to_json(const TokensState&);
/// Throws Error naming an unknown key or a value that does not fit.
TokensState tokens_state(const Json&);

/// Tokens as chips, the lines that fit whole. Special tokens are outlined, generated ones tinted, the selected query
/// filled and the selected key outlined in the model's colour. Regions "tokens/<index>". A small figure without a
/// title, for a side panel. The flow must have the width of the layout less 2 * tokens_margin; the table has all
/// tokens. Throws Error when the data contradicts itself.
Figure tokens(const TokensData&, const TokensState&, const Selection&, const Layout&);

/// Px that the figure keeps free on each side of the chips, so that outlines have room.
inline constexpr double tokens_margin = 2;

/// The height that shows all lines.
double tokens_height(const TokenFlow&);

/// Lines that fit whole in `height` px.
int64_t tokens_lines(double height);

}  // namespace headscope
