#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/views/view_check.h"

namespace headscope {
namespace {

using testing::HasSubstr;

TokensData story(int64_t tokens, double width = 252) {
  return sample::tokens_data(sample::story(tokens), width, measurer());
}

/// Lines of a flow, made by the plain rule: chips side by side, a new line where one does not fit or after a newline.
std::vector<int64_t> expected_lines(const std::vector<std::string>& pieces, double width) {
  std::vector<int64_t> starts;
  double x = 0;
  bool again = true;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const double chip = std::min(width, measurer().width(token_label(pieces[i], measurer()), TextRole::number) + 10);
    if (again || x + chip > width + 1e-4) starts.push_back(static_cast<int64_t>(i)), x = 0;
    x += chip + 4;
    again = pieces[i].find('\n') != std::string::npos;
  }
  return starts;
}

std::vector<int64_t> lines_of(const TokenFlow& flow) {
  std::vector<int64_t> starts;
  for (int64_t line = 0; line < flow.lines(); ++line) starts.push_back(flow.line_begin(line));
  return starts;
}

TEST(TokenFlow, BreaksWhereAChipDoesNotFitAndAfterANewline) {
  for (const double width : {60.0, 121.0, 252.0, 1000.0}) {
    const TokensData data = story(300, width);
    EXPECT_EQ(lines_of(*data.flow), expected_lines(sample::story(300), width)) << width;
  }
}

TEST(TokenFlow, ChipsFillTheirLinesWithoutOverlap) {
  const TokensData data = story(200);
  const TokenFlow& flow = *data.flow;
  for (int64_t line = 0; line < flow.lines(); ++line) {
    double free_from = 0;
    for (int64_t i = flow.line_begin(line); i < flow.line_end(line); ++i) {
      EXPECT_EQ(flow.line_of(i), line);
      EXPECT_NEAR(flow.chip(i).x, free_from, 1e-3);
      free_from = flow.chip(i).x + flow.chip(i).width + TokenFlow::gap;
    }
    EXPECT_LE(free_from - TokenFlow::gap, flow.width() + 1e-3);
  }
  EXPECT_EQ(flow.line_end(flow.lines() - 1), 200);
}

TEST(TokenFlow, ANewWidthGivesWhatAFreshFlowOfItGives) {
  auto pieces = sample::hard_pieces(100);
  TokenFlow flow(252);
  for (const auto& piece : pieces) flow.append({1, piece, false, {}}, measurer());
  for (const double width : {90.0, 640.0, 252.0, 0.0}) {
    flow.set_width(width);
    EXPECT_EQ(lines_of(flow), lines_of(*sample::tokens_data(pieces, width, measurer()).flow)) << width;
  }
}

TEST(TokenFlow, StartsOver) {
  TokenFlow flow(252);
  for (const auto& piece : sample::story(50)) flow.append({1, piece, false, {}}, measurer());
  flow.clear();
  EXPECT_EQ(flow.size(), 0);
  EXPECT_EQ(flow.lines(), 0);
  flow.append({3, " a", false, {}}, measurer());
  EXPECT_EQ(flow.lines(), 1);
  EXPECT_EQ(flow.token(0).label, "\u00B7a");
  EXPECT_EQ(flow.chip(0).x, 0);
}

TEST(TokenList, ACopyKeepsWhatItHad) {
  TokenFlow flow(252);
  for (int i = 0; i < 300; ++i) flow.append({i, " a", false, {}}, measurer());
  const TokenList copy = flow.tokens();
  for (int i = 0; i < 300; ++i) flow.append({i, " b", false, {}}, measurer());
  EXPECT_EQ(copy.size(), 300);
  EXPECT_EQ(copy[299].piece, " a");
  flow.clear();
  for (int i = 0; i < 10; ++i) flow.append({i, " c", false, {}}, measurer());
  EXPECT_EQ(copy[0].piece, " a");
}

const RectMark& plate(const Figure& figure, int64_t index) {
  return std::get<RectMark>(find_hit(figure, fmt::format("tokens/{}", index))->shape);
}

TEST(Tokens, ChipsStandWhereTheFlowSays) {
  const TokensData data = story(60);
  const Figure figure = tokens(data, {}, {}, layout(256, tokens_height(*data.flow)));
  for (int64_t i = 0; i < 60; ++i) {
    const Box box = hit_box(figure, fmt::format("tokens/{}", i));
    EXPECT_NEAR(box.x, tokens_margin + data.flow->chip(i).x, 1e-9);
    EXPECT_NEAR(box.y, tokens_margin + 26.0 * static_cast<double>(data.flow->line_of(i)), 1e-9);
    EXPECT_EQ(box.height, 22);
    EXPECT_TRUE(has_text(figure, data.flow->token(i).label));
  }
  EXPECT_EQ(figure.sentence, "60 tokens: 36 of the prompt, 24 generated.");
}

TEST(Tokens, OnlyWholeLinesFromTheScrollPositionAreDrawn) {
  const TokensData data = story(20000);
  const auto first_and_last = [&](int64_t line) {
    int64_t first = -1, last = -1;
    for (const Primitive& p : tokens(data, {line}, {}, layout(256, 110)).primitives) {
      if (!p.hit) continue;
      last = std::stoll(p.hit->id.substr(7));
      if (first < 0) first = last;
    }
    return std::pair(first, last);
  };
  const TokenFlow& flow = *data.flow;
  EXPECT_EQ(tokens_lines(110), 4);
  EXPECT_EQ(first_and_last(0), std::pair(int64_t{0}, flow.line_end(3) - 1));
  EXPECT_EQ(first_and_last(700), std::pair(flow.line_begin(700), flow.line_end(703) - 1));
  EXPECT_EQ(first_and_last(1 << 30), std::pair(flow.line_begin(flow.lines() - 4), int64_t{19999}));
}

TEST(Tokens, KindsOfTokensDiffer) {
  const TokensData data = story(60);
  const Figure figure = tokens(data, {}, {2, 5, 14, 9}, layout(256, 300));
  EXPECT_FALSE(plate(figure, 0).fill);  // special: an outline
  EXPECT_TRUE(plate(figure, 0).stroke);
  EXPECT_EQ(plate(figure, 3).fill->role, ColourRole::raised);
  EXPECT_FALSE(plate(figure, 3).stroke);
  EXPECT_EQ(plate(figure, 36).fill->role, ColourRole::model_a);  // generated: a tint
  EXPECT_LT(plate(figure, 36).fill->opacity, 0.5);
  EXPECT_EQ(plate(figure, 14).fill->role, ColourRole::model_a);  // selected query: filled
  EXPECT_EQ(plate(figure, 14).fill->opacity, 1);
  EXPECT_EQ(plate(figure, 9).stroke->role, ColourRole::model_a);  // selected key: outlined
  EXPECT_EQ(plate(figure, 9).fill->role, ColourRole::raised);
}

TEST(Tokens, TextOnChipsIsReadable) {
  // On the tint of generated tokens and on the fill of the selected query, in both themes.
  for (const Theme theme : {Theme::dark, Theme::light}) {
    const TokensData data = story(60);
    const Figure figure = tokens(data, {}, {2, 5, 14, {}}, layout(256, 300));
    const auto ground = [&](int64_t index) {
      const Raster raster = rasterise(figure, theme);
      const Box box = hit_box(figure, fmt::format("tokens/{}", index));
      return raster.at(static_cast<int64_t>(box.x) + 3, static_cast<int64_t>(box.y) + 11);
    };
    EXPECT_GE(contrast(colour(ColourRole::text, theme), ground(40)), 4.5);
    EXPECT_GE(contrast(colour(ColourRole::panel, theme), ground(14)), 4.5);
    EXPECT_GE(contrast(colour(ColourRole::text, theme), ground(3)), 4.5);
    EXPECT_GE(contrast(colour(ColourRole::dim, theme), ground(0)), 4.5);
  }
}

TEST(Tokens, TooltipsTellIndexIdAndText) {
  TokensData data = sample::tokens_data({"<s>", " Lily", "<0xE2>", "x"}, 252, measurer());
  data.weights = {0.25f, 0.5f};
  const Figure figure = tokens(data, {}, {}, layout(256, 60));
  const auto tooltip = [&](int64_t i) { return find_hit(figure, fmt::format("tokens/{}", i))->hit->tooltip; };
  EXPECT_EQ(tooltip(0), "token 0, id 0, special, prompt\n<s>\nweight 0.250");
  EXPECT_EQ(tooltip(1), "token 1, id 1, prompt\n\u00B7Lily\nweight 0.500");
  EXPECT_EQ(tooltip(2), "token 2, id 2, generated\nbytes of a character: <0xE2>");
}

TEST(Tokens, WeightsAreStripsOnTheScaleOfTheMaps) {
  TokensData data = story(60);
  data.weights.assign(15, 0.125f);
  data.weights[7] = NAN;
  std::vector<ImageMark> strips;
  for (const Primitive& p : tokens(data, {}, {}, layout(256, 300)).primitives) {
    if (const auto* image = std::get_if<ImageMark>(&p.shape)) strips.push_back(*image);
  }
  ASSERT_EQ(strips.size(), 15u);
  EXPECT_EQ(strips[3].grid.at(0, 0), 0.125f);
  EXPECT_EQ(strips[3].scale, (ColourScale{Ramp::attention, 1.0 / 960, 1, true}));
}

TEST(Tokens, TheTableHasAllTokensWhateverIsShown) {
  TokensData data = story(500);
  data.weights = {0.5f};
  Figure figure = tokens(data, {3}, {}, layout(256, 60));
  data.flow.reset();  // the table lives on
  ASSERT_EQ(figure.table.rows, 500u);
  EXPECT_EQ(cell<int64_t>(figure, "token", 14), 14);
  EXPECT_EQ(cell<std::string>(figure, "text", 14), " Lily");
  EXPECT_EQ(cell<int64_t>(figure, "special", 0), 1);
  EXPECT_EQ(cell<int64_t>(figure, "generated", 299), 0);
  EXPECT_EQ(cell<int64_t>(figure, "generated", 300), 1);
  EXPECT_EQ(cell<double>(figure, "weight", 0), 0.5);
}

TEST(Tokens, EmptyAndContradictions) {
  TokensData data;
  EXPECT_TRUE(has_text(tokens(data, {}, {}, layout(256, 200)), "Open a model."));
  data.facts.model = "tiny";
  data.flow = std::make_shared<TokenFlow>(252);
  EXPECT_TRUE(has_text(tokens(data, {}, {}, layout(256, 200)), "Run a prompt."));
  data = story(10);
  data.prompt_tokens = 11;
  EXPECT_THAT(message_of([&] { tokens(data, {}, {}, layout(256, 200)); }), HasSubstr("11 prompt tokens of 10"));
  data = story(10);
  data.weights.assign(11, 0);
  EXPECT_THAT(message_of([&] { tokens(data, {}, {}, layout(256, 200)); }), HasSubstr("11 weights for 10 tokens"));
}

TEST(TokensState, RoundTripsThroughJson) {
  EXPECT_EQ(to_json(tokens_state(Json::parse(R"({"first_line":7})"))).dump(), R"({"first_line":7})");
  EXPECT_THAT(message_of([] { tokens_state(Json::parse(R"({"first_line":-1})")); }), HasSubstr("at least 0"));
}

}  // namespace
}  // namespace headscope
