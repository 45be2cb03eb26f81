// Draws every view with made-up data at several sizes, shapes and themes into a folder, for people to look at:
//   view_gallery OUT_FOLDER [WORD]     only pictures whose name contains WORD

#include <fmt/format.h>

#include <exception>
#include <string>

#include "core/views/write.h"
#include "tests/views/sample_data.h"

namespace headscope {
namespace {

struct Gallery {
  std::string folder, only;
  TextMeasurer text;

  template <class Draw>
  void add(const std::string& name, double width, double height, Theme theme, const Draw& draw, double scale = 1) {
    if (name.find(only) == name.npos) return;
    write_figure(draw(Layout{width, height, scale, text}), folder + "/" + name + ".png", theme, scale);
    fmt::print("{}\n", name);
  }

  void atlases() {
    const auto shown = [&](sample::Shape shape, AtlasState state = {}, Selection selection = {2, 5, {}, {}}) {
      return [=](const Layout& layout) { return atlas(sample::atlas_data(shape), state, selection, layout); };
    };
    add("atlas-5x8-1000", 1000, 800, Theme::dark, shown({}));
    add("atlas-5x8-1000-light", 1000, 800, Theme::light, shown({}));
    add("atlas-5x8-640", 640, 400, Theme::dark, shown({}));
    add("atlas-5x8-1280x2", 1280, 800, Theme::dark, shown({}), 2);
    add("atlas-5x8-1920", 1920, 1080, Theme::dark, shown({}));
    add("atlas-12x12-1280", 1280, 800, Theme::dark, shown({12, 12, 12, 60, 1}));
    add("atlas-12x12-640", 640, 400, Theme::light, shown({12, 12, 12, 60, 1}));
    add("atlas-32x32-1280", 1280, 800, Theme::dark, shown({32, 32, 8, 100, 1}));
    add("atlas-32x32-1920", 1920, 1080, Theme::dark, shown({32, 32, 8, 100, 1}));
    add("atlas-32x32-640", 640, 400, Theme::dark, shown({32, 32, 8, 100, 1}));
    add("atlas-cla-1280", 1280, 800, Theme::dark, shown({8, 8, 2, 60, 2}));
    add("atlas-mlkv-1000", 1000, 640, Theme::light, shown({12, 8, 1, 60, 4}));
    add("atlas-1x1", 640, 400, Theme::dark, shown({1, 1, 1, 60, 1}, {}, {}));
    add("atlas-long", 1000, 800, Theme::dark, shown({5, 8, 4, 2048, 1}));
    add("atlas-empty", 1000, 640, Theme::dark, [](const Layout& l) { return atlas({}, {}, {}, l); });
    add("atlas-mixed", 1000, 800, Theme::dark, [](const Layout& l) {
      AtlasData data = sample::atlas_data({2, 8, 4, 60, 1}), other = sample::atlas_data({3, 6, 1, 60, 1});
      for (AtlasLayer layer : other.layers) {
        layer.kv_owner = 2;
        data.layers.push_back(layer);
      }
      data.facts.badges = {"head 0:1 zeroed", "renormalised without the first key"};
      data.layers[1].heads[2].map = {};
      return atlas(data, {}, {}, l);
    });
  }

  void maps() {
    const auto shown = [&](sample::Shape shape, int64_t layer, int64_t head, Selection selection = {},
                           MapState state = {}) {
      return [=](const Layout& layout) { return map(sample::map_data(shape, layer, head), state, selection, layout); };
    };
    const Selection dog{2, 5, 33, 14};
    add("map-60-1280", 1280, 800, Theme::dark, shown({}, 2, 5, dog));
    add("map-60-1280-light", 1280, 800, Theme::light, shown({}, 2, 5, dog));
    add("map-60-640", 640, 400, Theme::dark, shown({}, 2, 5, dog));
    add("map-60-1920", 1920, 1080, Theme::dark, shown({}, 1, 3, {}));
    add("map-24-1000", 1000, 800, Theme::dark, shown({5, 8, 4, 24, 1}, 0, 3));
    add("map-zoom-1000", 1000, 800, Theme::dark, shown({}, 2, 5, dog, {true, 30, 50, 5, 20}));
    add("map-linear-1000", 1000, 800, Theme::dark, shown({}, 1, 1, {}, {false, 0, 0, 0, 0}));
    add("map-2048-1280", 1280, 800, Theme::dark, shown({5, 8, 4, 2048, 1}, 2, 5));
    add("map-2-640", 640, 400, Theme::dark, shown({5, 8, 4, 2, 1}, 2, 5));
    add("map-1-640", 640, 400, Theme::dark, shown({5, 8, 4, 1, 1}, 2, 5));
    add("map-hard-1000", 1000, 900, Theme::dark, [](const Layout& l) {
      MapData data = sample::map_data({5, 8, 4, 34, 2}, 1, 3);
      data.pieces = sample::hard_pieces(34);
      return map(data, {}, {1, 3, 20, 4}, l);
    });
    add("map-nan-640", 640, 480, Theme::dark, [](const Layout& l) {
      MapData data = sample::map_data({5, 8, 4, 12, 1}, 1, 3);
      std::vector<float> values(*data.cells.values);
      values[65] = NAN;
      data.cells = Grid::of(12, 12, values);
      return map(data, {}, {}, l);
    });
    add("map-empty", 640, 400, Theme::light, [](const Layout& l) { return map({}, {}, {}, l); });
  }

  void kvs() {
    const auto shown = [&](sample::Shape shape, KvState state = {}) {
      return [=](const Layout& layout) { return kv(sample::kv_data(shape), state, {}, layout); };
    };
    add("kv-5-1280", 1280, 480, Theme::dark, shown({}));
    add("kv-5-1280-light", 1280, 480, Theme::light, shown({}));
    add("kv-5-640", 640, 400, Theme::dark, shown({}));
    add("kv-5-strip", 1276, 140, Theme::dark, shown({}));
    add("kv-32-1280", 1280, 800, Theme::dark, shown({32, 32, 8, 2048, 1}));
    add("kv-1", 640, 400, Theme::dark, shown({1, 1, 1, 1, 1}));
    add("kv-history", 1000, 480, Theme::dark, [](const Layout& l) {
      KvData data = sample::kv_data({});
      data.facts.slot = ModelSlot::b;
      uint64_t capacity = 16;
      for (uint64_t t = 1; t <= 60; ++t) {
        if (t > capacity) capacity = capacity * 3 / 2;
        data.allocated_history.push_back(capacity * 1280);
      }
      for (auto& layer : data.layers) layer.allocated = capacity * 256;
      data.layers[2].window = 24;
      data.layers[2].used = 24 * 256;
      return kv(data, {}, {}, l);
    });
    add("kv-empty", 1000, 320, Theme::dark, [](const Layout& l) { return kv({}, {}, {}, l); });
  }
};

}  // namespace
}  // namespace headscope

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: view_gallery OUT_FOLDER [WORD]\n");
    return 1;
  }
  try {
    headscope::Gallery gallery{argv[1], argc > 2 ? argv[2] : "", {}};
    gallery.atlases();
    gallery.maps();
    gallery.kvs();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
  return 0;
}
