#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/views/view_check.h"

namespace headscope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Figure shown(const SharingData& data, const Selection& selection = {}, double width = 256, double most = 600) {
  return sharing(data, selection, layout(width, sharing_height(data, width, most)));
}

/// Discs of query heads, left to right within rows.
std::vector<Box> discs(const Figure& figure, ColourRole role) {
  std::vector<Box> out;
  for (const Primitive& p : figure.primitives) {
    const auto* rect = std::get_if<RectMark>(&p.shape);
    const bool disc = rect != nullptr && rect->fill && rect->fill->role == role && rect->corner > 0;
    if (disc && rect->box.width == 2 * rect->corner) out.push_back(rect->box);
  }
  return out;
}

std::vector<std::string> labels(const Figure& figure) {
  std::vector<std::string> out;
  for (const Primitive& p : figure.primitives) {
    const auto* text = std::get_if<TextMark>(&p.shape);
    const bool label = text != nullptr && text->role == TextRole::number_small && text->anchor == Anchor::end;
    if (label && text->at.x < figure.width / 2) out.push_back(text->text);
  }
  return out;
}

/// What is drawn for KV heads, row by row, "+" before what is filled: "+K+V", "-K+V"; and where.
std::pair<std::string, std::vector<Box>> cells(const Figure& figure) {
  std::string words;
  std::vector<Box> boxes;
  for (const Primitive& p : figure.primitives) {
    const auto* rect = std::get_if<RectMark>(&p.shape);
    const bool stored = rect != nullptr && rect->fill && rect->fill->role == ColourRole::model_a && rect->corner > 0;
    const bool made = rect != nullptr && rect->stroke && rect->stroke->role == ColourRole::model_a;
    if (stored || made) boxes.push_back(rect->box);
    if (stored || made) words += stored ? "+" : "-";
    const auto* text = std::get_if<TextMark>(&p.shape);
    if (text != nullptr && text->role == TextRole::number_small && text->anchor == Anchor::middle) words += text->text;
  }
  return {words, boxes};
}

double middle(const Box& box) { return box.x + box.width / 2; }

TEST(Sharing, EveryQueryHeadIsJoinedToItsKvHead) {
  const Figure figure = shown(sample::sharing_data({2, 9, 3, 1, 1}));
  const std::vector<Box> queries = discs(figure, ColourRole::text), parts = cells(figure).second;
  ASSERT_EQ(queries.size(), 18u + 1);     // and one in the key
  ASSERT_EQ(parts.size(), 2 * (6u + 1));  // key and value
  std::vector<Box> kv;
  for (size_t i = 0; i < parts.size(); i += 2)
    kv.push_back({parts[i].x, parts[i].y, parts[i + 1].right() - parts[i].x, parts[i].height});
  size_t lines = 0;
  for (const Primitive& p : figure.primitives) {
    const auto* line = std::get_if<LineMark>(&p.shape);
    if (line == nullptr) continue;
    const size_t q = lines++;
    EXPECT_NEAR(line->from.x, middle(queries[q]), 1e-9) << q;
    EXPECT_NEAR(line->to.x, middle(kv[q / 3]), 1e-9) << q;
    EXPECT_GT(line->to.y, line->from.y);
  }
  EXPECT_EQ(lines, 18u);
  // A KV head stands in the middle below its readers.
  EXPECT_NEAR(middle(kv[1]), (middle(queries[3]) + middle(queries[5])) / 2, 1e-9);
  EXPECT_EQ(figure.sentence, "9 query heads read 3 KV heads in each of 2 layers.");
  EXPECT_THAT(labels(figure), ElementsAre("layer 0", "layer 1"));
}

TEST(Sharing, SentencesNameTheKind) {
  const auto says = [](sample::Shape shape) { return shown(sample::sharing_data(shape)).sentence; };
  EXPECT_EQ(says({5, 8, 4, 1, 1}), "8 query heads read 4 KV heads in each of 5 layers.");
  EXPECT_EQ(says({5, 8, 1, 1, 1}), "8 query heads read one KV head in each of 5 layers.");
  EXPECT_EQ(says({12, 12, 12, 1, 1}), "12 query heads, each with its own KV head, in each of 12 layers.");
  EXPECT_EQ(says({1, 1, 1, 1, 1}), "One query head with its own KV head in the only layer.");
  EXPECT_EQ(says({4, 8, 2, 1, 2}),
            "8 query heads read 2 KV heads in each of 4 layers; 2 layers read another layer's cache.");
  auto latent = std::make_shared<Architecture>(*sample::sharing_data({2, 16, 1, 1, 1}).architecture);
  for (KvStore& store : latent->kv_stores) store.stored = Stored::latent;
  EXPECT_EQ(shown({latent, ModelSlot::a}).sentence, "16 query heads read one latent in each of 2 layers.");
  EXPECT_THAT(find_hit(shown({latent, ModelSlot::a}), "sharing/1/3")->hit->tooltip, HasSubstr("reads the latent"));
  latent->layers[0].q_heads = 8;
  EXPECT_THAT(shown({latent, ModelSlot::a}).sentence, HasSubstr("2 layers that group their query heads differently"));
}

TEST(Sharing, RegionsTellWhatAHeadReads) {
  const SharingData data = sample::sharing_data({4, 8, 2, 1, 2});
  const Figure figure = shown(data);
  for (int64_t l = 0; l < 4; ++l) {
    for (int64_t q = 0; q < 8; ++q) {
      const std::string id = fmt::format("sharing/{}/{}", l, q);
      const Box box = hit_box(figure, id);
      EXPECT_EQ(hit_at(figure, {middle(box), box.y + box.height / 2}, measurer())->id, id);
    }
  }
  EXPECT_EQ(find_hit(figure, "sharing/2/5")->hit->tooltip, "layer 2, head 5\nreads KV head 1\nshared by heads 4-7");
  EXPECT_EQ(find_hit(figure, "sharing/3/5")->hit->tooltip,
            "layer 3, head 5\nreads KV head 1 of layer 2\nshared by heads 4-7");
}

TEST(Sharing, AReaderHasNoKvHeadsButAnArrowToItsOwner) {
  const Figure figure = shown(sample::sharing_data({4, 8, 2, 1, 2}));
  EXPECT_EQ(cells(figure).second.size(), 2 * (4u + 1));  // two owners with two each, and the key
  std::vector<double> arrows;
  for (const Primitive& p : figure.primitives) {
    if (const auto* arrow = std::get_if<PolygonMark>(&p.shape)) arrows.push_back(arrow->points[1].y);
  }
  ASSERT_EQ(arrows.size(), 2u);
  for (const size_t owner : {0u, 1u}) {
    const Box row = hit_box(figure, fmt::format("sharing/{}/0", 2 * owner));
    EXPECT_GT(arrows[owner], row.y);
    EXPECT_LT(arrows[owner], row.bottom());
  }
}

TEST(Sharing, LayersThatAreAlikeShareARowWhenTheyDoNotFit) {
  EXPECT_THAT(labels(shown(sample::sharing_data({32, 4, 2, 1, 1}), {}, 256, 240)), ElementsAre("layers 0-31"));
  EXPECT_THAT(labels(shown(sample::sharing_data({32, 32, 8, 1, 1}), {}, 256, 240)), ElementsAre("0-31"));
  EXPECT_THAT(labels(shown(sample::sharing_data({32, 4, 2, 1, 2}), {}, 256, 240)), ElementsAre("0,2..30", "1,3..31"));
  EXPECT_THAT(labels(shown(sample::sharing_data({12, 4, 1, 1, 4}), {}, 256, 240)), ElementsAre("0,4..8", "1-3,5-7.."));
  EXPECT_THAT(labels(shown(sample::sharing_data({32, 4, 1, 1, 32}), {}, 256, 240)),
              ElementsAre("layer 0", "layers 1-31"));
  EXPECT_EQ(labels(shown(sample::sharing_data({12, 4, 2, 1, 1}), {}, 256, 600)).size(), 12u);
}

TEST(Sharing, ARowOfManyLayersIsTheSelectedOnes) {
  const SharingData data = sample::sharing_data({32, 8, 2, 1, 2});
  const auto ids = [&](const Selection& selection) {
    std::set<std::string> out;
    for (const Primitive& p : shown(data, selection, 256, 240).primitives) {
      if (p.hit && p.hit->id.ends_with("/5")) out.insert(p.hit->id);
    }
    return out;
  };
  EXPECT_THAT(ids({}), ElementsAre("sharing/0/5", "sharing/1/5"));
  EXPECT_THAT(ids({17, 2, {}, {}}), ElementsAre("sharing/0/5", "sharing/17/5"));
  EXPECT_THAT(ids({30, 2, {}, {}}), ElementsAre("sharing/1/5", "sharing/30/5"));
  const std::string reader = find_hit(shown(data, {17, 2, {}, {}}, 256, 240), "sharing/17/5")->hit->tooltip;
  EXPECT_THAT(reader, HasSubstr("KV head 1 of layer 16"));
}

TEST(Sharing, TheSelectedHeadAndItsKvHeadAreRinged) {
  const Figure figure = shown(sample::sharing_data({}), {2, 5, {}, {}});
  std::vector<Box> rings;
  for (const Primitive& p : figure.primitives) {
    const auto* rect = std::get_if<RectMark>(&p.shape);
    if (rect != nullptr && rect->stroke && rect->stroke->role == ColourRole::selection) rings.push_back(rect->box);
  }
  ASSERT_EQ(rings.size(), 2u);
  const Box region = hit_box(figure, "sharing/2/5");
  EXPECT_NEAR(middle(rings[0]), middle(region), 1e-9);
  EXPECT_NEAR(middle(rings[1]), (middle(hit_box(figure, "sharing/2/4")) + middle(region)) / 2, 1e-9);
  for (const Selection& none : {Selection{9, 5, {}, {}}, Selection{2, 8, {}, {}}, Selection{2, -1, {}, {}}}) {
    for (const Primitive& p : shown(sample::sharing_data({}), none).primitives) {
      const auto* rect = std::get_if<RectMark>(&p.shape);
      EXPECT_FALSE(rect != nullptr && rect->stroke);
    }
  }
}

TEST(Sharing, WhatIsLeftOutIsSaid) {
  SharingData mixed = sample::sharing_data({26, 8, 4, 1, 1});
  auto a = std::make_shared<Architecture>(*mixed.architecture);
  for (const size_t l : {0, 1, 3, 6, 10, 15, 21}) a->kv_stores[l].kv_heads = 1;
  mixed.architecture = a;
  EXPECT_TRUE(has_text(shown(mixed, {}, 256, 200), "of 26 shown"));
  EXPECT_FALSE(has_text(shown(mixed, {}, 256, 2000), "shown"));
  EXPECT_TRUE(has_text(shown(sample::sharing_data({2, 128, 128, 1, 1})), "of 128 shown"));
  EXPECT_FALSE(has_text(shown(sample::sharing_data({2, 32, 32, 1, 1})), "shown"));
}

TEST(Sharing, TheHeightIsTheLeastThatShowsTheSame) {
  for (const sample::Shape& shape : {sample::Shape{5, 8, 4, 1, 1}, sample::Shape{32, 32, 8, 1, 1},
                                     sample::Shape{32, 8, 2, 1, 2}, sample::Shape{12, 12, 12, 1, 1}}) {
    const SharingData data = sample::sharing_data(shape);
    for (const double most : {160.0, 240.0, 400.0, 1200.0}) {
      const double height = sharing_height(data, 256, most);
      EXPECT_LE(height, most);
      EXPECT_EQ(sharing_height(data, 256, height), height) << "asked again with its own answer";
      EXPECT_EQ(labels(sharing(data, {}, layout(256, height))), labels(sharing(data, {}, layout(256, most))));
    }
  }
}

TEST(Sharing, ManyHeadsHaveARegionForEachGroup) {
  const Figure figure = shown(sample::sharing_data({2, 128, 4, 1, 1}));
  std::vector<std::string> ids;
  for (const Primitive& p : figure.primitives) {
    if (p.hit) ids.push_back(p.hit->id);
  }
  EXPECT_THAT(ids, ElementsAre("sharing/0/0", "sharing/0/32", "sharing/0/64", "sharing/0/96", "sharing/1/0",
                               "sharing/1/32", "sharing/1/64", "sharing/1/96"));
}

TEST(Sharing, CellsAreWhatIsStored) {
  const auto drawn = [](Stored stored, bool rotated, int64_t kv_heads = 1) {
    const Figure figure = shown(sample::sharing_kind({1, 6, kv_heads, 1, 1}, stored, rotated), {}, 480);
    return cells(figure).first;
  };
  // One row of the figure, then the key, which begins with what is stored.
  EXPECT_EQ(drawn(Stored::keys_and_values, false),
            "+K+V"
            "+K+V");
  EXPECT_EQ(drawn(Stored::keys_and_values, false, 2),
            "+K+V+K+V"
            "+K+V");
  EXPECT_EQ(drawn(Stored::values_only, true), "-K+V+V-K");
  EXPECT_EQ(drawn(Stored::values_only, false),
            "+K=V"
            "+K=V");
  EXPECT_EQ(drawn(Stored::keys_only, true),
            "+K-V"
            "+K-V");
  EXPECT_EQ(drawn(Stored::latent, false),
            "+latent+K"
            "+latent+K");
  const auto says = [](Stored stored, bool rotated, const char* words) {
    return has_text(shown(sample::sharing_kind({2, 6, 1, 1, 1}, stored, rotated), {}, 480), words);
  };
  EXPECT_TRUE(says(Stored::values_only, true, "RoPE(V)"));
  EXPECT_TRUE(says(Stored::keys_only, true, "made from K when read"));
  EXPECT_TRUE(says(Stored::latent, false, "rope key"));
}

TEST(Sharing, SentencesNameWhatIsStored) {
  const auto says = [](Stored stored, bool rotated) {
    return shown(sample::sharing_kind({2, 6, 1, 1, 1}, stored, rotated)).sentence;
  };
  EXPECT_THAT(says(Stored::values_only, true), testing::EndsWith("each of 2 layers; only values are stored."));
  EXPECT_THAT(says(Stored::values_only, false), testing::EndsWith("; keys and values are the same rows."));
  EXPECT_THAT(says(Stored::keys_only, true), testing::EndsWith("; only keys are stored."));
  EXPECT_THAT(says(Stored::latent, false), testing::EndsWith("each of 2 layers."));
}

TEST(Sharing, CellsWithoutRoomHaveNoLetters) {
  const auto [words, boxes] = cells(shown(sample::sharing_kind({1, 20, 20, 1, 1}, Stored::values_only, true)));
  EXPECT_TRUE(words.starts_with("-+-+")) << words;
  EXPECT_LT(boxes[1].right(), boxes[2].x);
  const auto [dots, few] = cells(shown(sample::sharing_data({1, 64, 64, 1, 1})));
  EXPECT_EQ(few.size(), 64u + 2);  // one for each KV head, and both in the key
  EXPECT_TRUE(dots.starts_with("++++")) << dots;
}

TEST(Sharing, WindowsStandAtTheEndOfTheirRows) {
  const SharingData data = sample::sharing_kind({4, 6, 2, 1, 2}, Stored::keys_and_values, false, {11, 7, 0, 5});
  const Figure figure = shown(data, {}, 480);
  std::vector<std::string> said;
  std::vector<double> filled;
  for (const Primitive& p : figure.primitives) {
    const auto* text = std::get_if<TextMark>(&p.shape);
    if (text != nullptr && text->anchor == Anchor::end && text->at.x > 240) said.push_back(text->text);
    const auto* rect = std::get_if<RectMark>(&p.shape);
    if (rect != nullptr && rect->fill && rect->fill->role == ColourRole::dim) filled.push_back(rect->box.width);
  }
  EXPECT_THAT(said, ElementsAre("last 11", "last 7", "all", "last 5"));
  EXPECT_THAT(filled, ElementsAre(14, 9, 28, 6, testing::_));  // the longest window half of 28 px; the key
  EXPECT_TRUE(has_text(figure, "tokens a query sees"));
  EXPECT_THAT(find_hit(figure, "sharing/1/0")->hit->tooltip, HasSubstr("sees the last 7 tokens"));
  EXPECT_FALSE(has_text(shown(sample::sharing_data({4, 6, 2, 1, 2}), {}, 480), "all"));
  EXPECT_FALSE(has_text(shown(data, {}, 200), "last 11"));  // no room
  EXPECT_EQ(cell<int64_t>(figure, "window", 6), 7);
}

TEST(Sharing, LayersThatAlternateAreDrawnOnce) {
  const auto rows = [](int64_t layers, const std::vector<int64_t>& windows) {
    const SharingData data = sample::sharing_kind({layers, 4, 1, 1, 1}, Stored::keys_and_values, false, windows);
    return labels(shown(data, {}, 256, 300));
  };
  EXPECT_THAT(rows(26, {4096, 0}), ElementsAre("0,2..24", "1,3..25"));
  EXPECT_THAT(rows(24, {8, 8, 0}), ElementsAre("0-1,3-4..", "2,5..23"));
  const auto twice = [&](const std::vector<int64_t>& windows) {
    const SharingData data = sample::sharing_kind({6, 4, 1, 1, 1}, Stored::keys_and_values, false, windows);
    return labels(shown(data, {}, 256, 150));
  };
  EXPECT_THAT(twice({8, 8, 0}), ElementsAre("0-1,3-4", "2,5"));
}

TEST(Sharing, TheTableHasEveryHead) {
  const Figure figure = shown(sample::sharing_data({4, 8, 2, 1, 2}));
  ASSERT_EQ(figure.table.rows, 32u);
  EXPECT_EQ(cell<int64_t>(figure, "layer", 29), 3);
  EXPECT_EQ(cell<int64_t>(figure, "head", 29), 5);
  EXPECT_EQ(cell<int64_t>(figure, "kv_head", 29), 1);
  EXPECT_EQ(cell<int64_t>(figure, "kv_owner", 29), 2);
}

TEST(Sharing, HeadsThatDoNotDivideAreRefused) {
  auto a = std::make_shared<Architecture>(*sample::sharing_data({}).architecture);
  a->layers[3].q_heads = 7;
  EXPECT_THAT(message_of([&] {
                sharing({a, ModelSlot::a}, {}, layout(256, 200));
              }),
              HasSubstr("layer 3 has 7 query heads and reads 4 KV heads"));
}

}  // namespace
}  // namespace headscope
