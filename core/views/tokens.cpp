#include "core/views/tokens.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/views/plot/legend.h"
#include "core/views/state_json.h"

namespace headscope {
namespace {

std::string tokens_sentence(const TokensData& data) {
  const int64_t all = data.flow->size(), generated = all - data.prompt_tokens;
  const std::string count = fmt::format("{} token{}", format_count(static_cast<uint64_t>(all)), all == 1 ? "" : "s");
  if (generated == 0) return count + ", all of the prompt.";
  return fmt::format("{}: {} of the prompt, {} generated.", count,
                     format_count(static_cast<uint64_t>(data.prompt_tokens)),
                     format_count(static_cast<uint64_t>(generated)));
}

class TokensPainter {
 public:
  TokensPainter(const TokensData& data, const Selection& selection, const Layout& layout)
      : data_(data), flow_(*data.flow), selection_(selection), layout_(layout) {
    const int64_t tokens = data.facts.tokens > 0 ? data.facts.tokens : flow_.size();
    scale_ = {Ramp::attention, map_floor(tokens), 1, true};
  }

  Figure paint(const TokensState& state) {
    figure_.width = layout_.width;
    figure_.height = layout_.height;
    figure_.title = "Tokens";
    figure_.sentence = tokens_sentence(data_);
    const int64_t room = tokens_lines(layout_.height);
    const int64_t first = std::clamp<int64_t>(state.first_line, 0, std::max<int64_t>(0, flow_.lines() - room));
    double y = tokens_margin;
    for (int64_t line = first; line < std::min(flow_.lines(), first + room); ++line) {
      for (int64_t i = flow_.line_begin(line); i < flow_.line_end(line); ++i) paint_chip(i, y);
      y += TokenFlow::line_pitch;
    }
    add_table();
    return std::move(figure_);
  }

 private:
  void paint_chip(int64_t index, double y) {
    const TokenFlow::Chip chip = flow_.chip(index);
    const TokenText& token = flow_.token(index);
    const Box box{tokens_margin + chip.x, y, chip.width, TokenFlow::chip_height};
    if (box.right() > figure_.width || box.width <= 0) return;
    const Paint model{accent(data_.facts.slot)};
    const bool query = selection_.query == index, key = selection_.key == index;
    RectMark plate{box, Paint{ColourRole::raised}, {}, 1, 4};
    if (index >= data_.prompt_tokens) plate.fill = Paint{model.role, 0.2};
    if (query) plate.fill = model;
    if (token.special) plate.fill.reset(), plate.stroke = Paint{ColourRole::dim, 0.7};
    if (token.special && query) plate.fill = model;
    if (key) plate.stroke = query ? Paint{ColourRole::selection} : model, plate.stroke_width = 2;
    figure_.add(plate, {fmt::format("tokens/{}", index), tooltip(index)});
    const Paint ink{query ? ColourRole::panel : token.special ? ColourRole::dim : ColourRole::text};
    add_fitted(figure_, {box.x + TokenFlow::chip_padding, y + 15}, token.label, TextRole::number, ink, Anchor::start,
               box.width - 2 * TokenFlow::chip_padding + 0.01, layout_);
    paint_weight(index, box);
  }

  void paint_weight(int64_t index, const Box& box) {
    if (index >= static_cast<int64_t>(data_.weights.size()) || box.width <= 8) return;
    const Box strip{box.x + 4, box.bottom() - 3, box.width - 8, 3};
    figure_.add(ImageMark{strip, Grid::of(1, 1, {data_.weights[static_cast<size_t>(index)]}), scale_});
  }

  std::string tooltip(int64_t index) const {
    const TokenText& token = flow_.token(index);
    std::string out = fmt::format("token {}, id {}{}", index, token.id, token.special ? ", special" : "");
    out += index < data_.prompt_tokens ? ", prompt" : ", generated";
    const bool partial = token.piece.find("<0x") != std::string::npos && !token.special;
    out += fmt::format("\n{}{}", partial ? "bytes of a character: " : "", token_label(token.piece, layout_.text));
    if (index < static_cast<int64_t>(data_.weights.size())) {
      out += fmt::format("\nweight {}", weight_text(static_cast<double>(data_.weights[static_cast<size_t>(index)])));
    }
    return out;
  }

  void add_table() {
    const auto list = std::make_shared<const TokenList>(flow_.tokens());
    figure_.table.rows = static_cast<size_t>(list->size());
    const auto add = [&](std::string name, auto value) {
      figure_.table.columns.push_back({std::move(name), "", [list, value](size_t row) -> Table::Value {
                                         return value((*list)[static_cast<int64_t>(row)], static_cast<int64_t>(row));
                                       }});
    };
    add("token", [](const TokenText&, int64_t row) { return row; });
    add("id", [](const TokenText& token, int64_t) { return int64_t{token.id}; });
    add("text", [](const TokenText& token, int64_t) { return token.piece; });
    add("special", [](const TokenText& token, int64_t) { return int64_t{token.special}; });
    add("generated", [prompt = data_.prompt_tokens](const TokenText&, int64_t row) { return int64_t{row >= prompt}; });
    if (data_.weights.empty()) return;
    const auto weights = std::make_shared<const std::vector<float>>(data_.weights);
    add("weight", [weights](const TokenText&, int64_t row) {
      return row < static_cast<int64_t>(weights->size()) ? static_cast<double>((*weights)[static_cast<size_t>(row)])
                                                         : 0.0;
    });
  }

  const TokensData& data_;
  const TokenFlow& flow_;
  const Selection& selection_;
  const Layout& layout_;
  ColourScale scale_;
  Figure figure_;
};

void check_tokens(const TokensData& data) {
  if (data.prompt_tokens < 0 || data.prompt_tokens > data.flow->size()) {
    fail("the token view was given {} prompt tokens of {} tokens.", data.prompt_tokens, data.flow->size());
  }
  if (static_cast<int64_t>(data.weights.size()) > data.flow->size()) {
    fail("the token view was given {} weights for {} tokens.", data.weights.size(), data.flow->size());
  }
}

}  // namespace

Json to_json(const TokensState& state) { return {{"first_line", state.first_line}}; }

TokensState tokens_state(const Json& json) {
  TokensState state;
  StateReader reader(json, "tokens");
  reader.read("first_line", state.first_line, 0);
  reader.finish();
  return state;
}

double tokens_height(const TokenFlow& flow) {
  return std::max(0.0, static_cast<double>(flow.lines()) * TokenFlow::line_pitch - TokenFlow::gap) + 2 * tokens_margin;
}

int64_t tokens_lines(double height) {
  return std::max<int64_t>(0,
                           static_cast<int64_t>((height - 2 * tokens_margin + TokenFlow::gap) / TokenFlow::line_pitch));
}

Figure tokens(const TokensData& data, const TokensState& state, const Selection& selection, const Layout& layout) {
  if (!data.flow || data.flow->size() == 0) {
    return empty_figure("Tokens", "Shows the prompt as the model reads it, token by token.", data.facts, layout);
  }
  check_tokens(data);
  return TokensPainter(data, selection, layout).paint(state);
}

}  // namespace headscope
