// Draws every view with made-up data at several sizes, shapes and themes into a folder, for people to look at:
//   view_gallery OUT_FOLDER [WORD]     only pictures whose name contains WORD

#include <fmt/format.h>

#include <exception>
#include <string>
#include <tuple>

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
    add("kv-strip-5", 1000, 140, Theme::dark, shown({}));
    add("kv-strip-5-light", 1000, 140, Theme::light, shown({}));
    add("kv-strip-600", 600, 100, Theme::dark, shown({}));
    add("kv-strip-1276x180", 1276, 180, Theme::dark, shown({}));
    add("kv-strip-long", 1000, 140, Theme::dark, shown({32, 32, 8, 20000, 1}));
    add("kv-strip-1", 800, 120, Theme::dark, shown({1, 1, 1, 1, 1}));
    add("kv-strip-400", 400, 140, Theme::dark, shown({}));
    add("kv-strip-empty", 1000, 140, Theme::dark, [](const Layout& l) { return kv({}, {}, {}, l); });
    add("kv-strip-odd", 700, 120, Theme::dark, [](const Layout& l) {
      KvData data = sample::kv_data({5, 8, 4, 900, 1});
      data.facts.slot = ModelSlot::b;
      for (uint64_t t = 0; t < 900; ++t) data.allocated_history.push_back((t / 200 + 1) * 200 * 1280);
      data.layers[2].window = 240;
      data.layers[2].used = 240 * 256;
      data.layers[1].used += 90000;
      return kv(data, {}, {}, l);
    });
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

  void heads() {
    const auto shown = [&](sample::Shape shape, int64_t layer, int64_t head_index, Selection selection = {}) {
      return [=](const Layout& layout) {
        return head(sample::head_data(sample::atlas_data(shape), shape, layer, head_index), {}, selection, layout);
      };
    };
    const Selection dog{2, 5, 33, 14};
    add("head-272x780", 272, 780, Theme::dark, shown({}, 2, 5, dog));
    add("head-272x600", 272, 600, Theme::dark, shown({}, 2, 5, dog));
    add("head-272x600-light", 272, 600, Theme::light, shown({}, 2, 5, dog));
    add("head-272x420", 272, 420, Theme::dark, shown({}, 2, 5, dog));
    add("head-340x860x2", 340, 860, Theme::dark, shown({}, 1, 3, dog), 2);
    add("head-900x500", 900, 500, Theme::dark, shown({}, 2, 5, dog));
    add("head-1280x800", 1280, 800, Theme::light, shown({}, 2, 5, dog));
    add("head-32x32", 272, 700, Theme::dark, shown({32, 32, 8, 100, 1}, 20, 17));
    add("head-cla", 272, 700, Theme::light, shown({8, 8, 1, 60, 2}, 3, 1));
    add("head-1-token", 272, 600, Theme::dark, shown({1, 1, 1, 1, 1}, 0, 0));
    add("head-skeleton", 272, 700, Theme::dark, [](const Layout& l) {
      const sample::Shape shape{5, 8, 4, 60, 1};
      HeadData data = sample::head_data(sample::atlas_data(shape), shape, 2, 5);
      data.map = {};
      data.next.clear();
      data.numbers.window = 0.71;
      data.numbers.entropy_nats = NAN;
      data.facts.slot = ModelSlot::b;
      data.facts.badges = {"head 0:1 zeroed"};
      return head(data, {}, {}, l);
    });
    add("head-none", 272, 600, Theme::dark, [](const Layout& l) {
      HeadData data;
      data.facts.model = "tiny";
      data.facts.tokens = 60;
      data.next = {{" big", 0.38}, {" little", 0.17}, {" saw", 0.11}};
      return head(data, {}, {}, l);
    });
    add("head-not-run", 272, 600, Theme::light, [](const Layout& l) {
      HeadData data;
      data.facts.model = "tiny";
      return head(data, {}, {}, l);
    });
    add("head-empty", 272, 600, Theme::dark, [](const Layout& l) { return head({}, {}, {}, l); });
  }

  void sharings() {
    const auto shown = [&](const std::string& name, SharingData data, Theme theme = Theme::dark, double most = 240,
                           Selection selection = {2, 5, {}, {}}, double width = 256) {
      const double height = std::ceil(sharing_height(data, width, most));
      add("sharing-" + name, width, height, theme, [&](const Layout& l) { return sharing(data, selection, l); });
    };
    shown("5x8", sample::sharing_data({}));
    shown("5x8-light", sample::sharing_data({}), Theme::light);
    shown("12x12", sample::sharing_data({12, 12, 12, 1, 1}));
    shown("12x12-tall", sample::sharing_data({12, 12, 12, 1, 1}), Theme::dark, 600);
    shown("32x32-8", sample::sharing_data({32, 32, 8, 1, 1}));
    shown("32x32-light", sample::sharing_data({32, 32, 32, 1, 1}), Theme::light);
    shown("mqa", sample::sharing_data({5, 8, 1, 1, 1}));
    shown("1x1", sample::sharing_data({1, 1, 1, 1, 1}), Theme::dark, 240, {});
    shown("cla", sample::sharing_data({4, 8, 2, 1, 2}));
    shown("cla-long", sample::sharing_data({32, 8, 2, 1, 2}));
    shown("mlkv", sample::sharing_data({12, 8, 1, 1, 4}), Theme::light, 240, {7, 3, {}, {}});
    shown("mlkv-tall", sample::sharing_data({12, 8, 1, 1, 4}), Theme::light, 600, {7, 3, {}, {}});
    shown("128x128", sample::sharing_data({61, 128, 128, 1, 1}));
    shown("128x1", sample::sharing_data({61, 128, 1, 1, 1}));
    shown("64x8-wide", sample::sharing_data({80, 64, 8, 1, 1}), Theme::dark, 240, {2, 5, {}, {}}, 400);
    shown("sharedkv", sample::sharing_kind({4, 6, 2, 1, 1}, Stored::values_only, true), Theme::light, 240, {}, 480);
    shown("sharedkv-mha", sample::sharing_kind({12, 12, 12, 1, 1}, Stored::values_only, true));
    shown("k-is-v", sample::sharing_kind({4, 6, 2, 1, 1}, Stored::values_only, false), Theme::light, 240, {}, 480);
    shown("slim", sample::sharing_kind({4, 6, 6, 1, 1}, Stored::keys_only, true), Theme::light, 300, {}, 480);
    shown("mla", sample::sharing_kind({4, 6, 1, 1, 2}, Stored::latent, false), Theme::light, 240, {}, 480);
    shown("mla-side", sample::sharing_kind({61, 128, 1, 1, 1}, Stored::latent, false));
    shown("windows", sample::sharing_kind({4, 6, 2, 1, 1}, Stored::keys_and_values, false, {11, 0, 7, 0}), Theme::light,
          240, {}, 480);
    shown("windows-side", sample::sharing_kind({26, 8, 4, 1, 1}, Stored::keys_and_values, false, {4096, 0}));
    shown("windows-5-to-1",
          sample::sharing_kind({26, 4, 1, 1, 1}, Stored::keys_and_values, false, {512, 512, 512, 512, 512, 0}));
    SharingData mixed = sample::sharing_data({26, 8, 4, 1, 1});
    auto a = std::make_shared<Architecture>(*mixed.architecture);
    for (size_t l = 0; l < a->layers.size(); l += 3) a->kv_stores[l].kv_heads = 1;
    mixed.architecture = a;
    mixed.slot = ModelSlot::b;
    shown("mixed", mixed);
  }

  void comparisons() {
    for (const auto& [name, width, height] :
         {std::tuple{"1280", 1280.0, 800.0}, {"640", 640.0, 400.0}, {"480", 480.0, 320.0}}) {
      for (const size_t models : {1, 4}) {
        const KvCompareData data = sample::kv_compare_data(models);
        const std::string end = fmt::format("-{}-{}", models, name);
        add("compare-batch" + end, width, height, Theme::dark,
            [&](const Layout& l) { return kv_compare(data, KvPlot::batch, l); });
        add("compare-token" + end, width, height, Theme::light,
            [&](const Layout& l) { return kv_compare(data, KvPlot::token, l); });
        add("compare-speed" + end, width, height, Theme::light,
            [&](const Layout& l) { return kv_speed(sample::kv_speed_data(models), l); });
      }
    }
  }

  void token_views() {
    const auto shown = [&](std::vector<std::string> pieces, bool weights, Selection selection = {2, 5, 14, 9},
                           int64_t first_line = 0) {
      return [=](const Layout& layout) {
        TokensData data = sample::tokens_data(pieces, layout.width - 2 * tokens_margin, layout.text);
        if (weights) {
          const auto rows = sample::attention(data.flow->size(), 7);
          const auto begin = rows.begin() + 14 * data.flow->size();
          data.weights.assign(begin, begin + 15);
        }
        return tokens(data, {first_line}, selection, layout);
      };
    };
    add("tokens-256", 256, 260, Theme::dark, shown(sample::story(60), false));
    add("tokens-256-light", 256, 260, Theme::light, shown(sample::story(60), false));
    add("tokens-weights", 256, 260, Theme::dark, shown(sample::story(60), true));
    add("tokens-weights-light", 256, 260, Theme::light, shown(sample::story(60), true));
    add("tokens-hard", 256, 260, Theme::dark, shown(sample::hard_pieces(34), false));
    add("tokens-long", 640, 400, Theme::dark, shown(sample::story(20000), false, {}, 300));
    add("tokens-1", 256, 120, Theme::dark, shown({"<s>"}, false, {}));
    add("tokens-empty", 256, 160, Theme::dark, [](const Layout& l) { return tokens({}, {}, {}, l); });
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
    gallery.heads();
    gallery.sharings();
    gallery.comparisons();
    gallery.token_views();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
  return 0;
}
