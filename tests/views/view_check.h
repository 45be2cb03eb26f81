#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "core/base/error.h"
#include "core/views/write.h"
#include "tests/views/sample_data.h"

/// What the tests of single views share: questions to figures, and small data made by hand.
namespace headscope {

inline const TextMeasurer& measurer() {
  static const TextMeasurer instance;
  return instance;
}

inline Layout layout(double width, double height, double scale = 1) { return {width, height, scale, measurer()}; }

inline std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

inline Box hit_box(const Figure& figure, const std::string& id) {
  const Primitive* found = find_hit(figure, id);
  if (found == nullptr) {
    ADD_FAILURE() << "no region " << id;
    return {};
  }
  return bounds(*found, measurer());
}

inline bool has_text(const Figure& figure, std::string_view part) {
  for (const Primitive& p : figure.primitives) {
    const auto* text = std::get_if<TextMark>(&p.shape);
    if (text != nullptr && text->text.find(part) != std::string::npos) return true;
  }
  return false;
}

template <class T>
T cell(const Figure& figure, const std::string& column, size_t row) {
  for (const auto& c : figure.table.columns) {
    if (c.name == column) return std::get<T>(c.value(row));
  }
  ADD_FAILURE() << "no column " << column;
  return {};
}

/// Two layers of four heads in pairs, three tokens; the maps and metrics are made by hand.
inline AtlasData small_atlas() {
  AtlasData data;
  data.facts.model = "tiny";
  data.facts.variant = "GQA-2";
  data.facts.tokens = 3;
  for (int64_t l = 0; l < 2; ++l) {
    AtlasLayer layer{4, 2, l, {}};
    for (int64_t h = 0; h < 4; ++h) {
      const auto value = static_cast<double>(l * 4 + h);
      layer.heads.push_back(
          {Grid::of(3, 3, {1, 0, 0, 0.5f, 0.5f, 0, 0.1f, 0.2f, 0.7f}), value / 10, value, 1 - value / 10, 0.5});
    }
    data.layers.push_back(layer);
  }
  return data;
}

/// Four tokens; query 3 looks at key 1 with 0.8.
inline MapData small_map() {
  MapData data;
  data.facts.model = "tiny";
  data.facts.tokens = 4;
  data.layer = 2;
  data.head = 5;
  data.kv_head = 2;
  data.group_size = 2;
  data.kv_owner = 2;
  data.row_end = data.key_end = 4;
  data.pieces = std::vector<std::string>{"<s>", " Lily", " saw", " dog"};
  data.cells = Grid::of(4, 4, {1, 0, 0, 0, 0.5f, 0.5f, 0, 0, 0.6f, 0.3f, 0.1f, 0, 0.05f, 0.8f, 0.1f, 0.05f});
  return data;
}

}  // namespace headscope
