#include <fmt/format.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "tests/gui/stage.h"
#include "tests/views/sample_data.h"

namespace headscope::gui {
namespace {

struct Sample {
  std::string name;
  Figure figure;
};

std::vector<Sample> samples(double scale) {
  static const TextMeasurer text;
  const Layout wide{1000, 700, scale, text}, small{640, 400, scale, text}, strip{1276, 140, scale, text};
  std::vector<Sample> out;
  out.push_back({"atlas", atlas(sample::atlas_data({}), {}, {2, 5, {}, {}}, wide)});
  out.push_back({"atlas-32x32", atlas(sample::atlas_data({32, 32, 8, 100, 1}), {}, {2, 5, {}, {}}, wide)});
  out.push_back({"atlas-shared", atlas(sample::atlas_data({8, 8, 2, 60, 2}), {}, {2, 5, {}, {}}, wide)});
  out.push_back({"map", map(sample::map_data({}, 2, 5), {}, {2, 5, 33, 14}, wide)});
  out.push_back({"map-zoom", map(sample::map_data({}, 2, 5), {true, 30, 50, 5, 20}, {2, 5, 33, 14}, wide)});
  MapData hard = sample::map_data({5, 8, 4, 34, 2}, 1, 3);
  hard.pieces = sample::hard_pieces(34);
  out.push_back({"map-hard", map(hard, {}, {1, 3, 20, 4}, wide)});
  out.push_back({"kv", kv(sample::kv_data({}), {}, {}, small)});
  out.push_back({"kv-long", kv(sample::kv_data({32, 32, 8, 2048, 1}), {}, {}, wide)});
  out.push_back({"kv-strip", kv(sample::kv_data({}), {}, {}, strip)});
  return out;
}

void save(const std::string& name, const Raster& raster) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "headscope-paint";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / (name + ".png"), std::ios::binary) << png_bytes(raster);
}

double mean_difference(const Raster& a, const Raster& b) {
  EXPECT_EQ(a.rgb.size(), b.rgb.size());
  double sum = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) sum += std::abs(int{a.rgb[i]} - int{b.rgb[i]});
  return sum / static_cast<double>(a.rgb.size());
}

TEST(Painter, SamplesLookLikeThePng) {
  for (const double scale : {1.0, 2.0}) {
    for (const Theme theme : {Theme::dark, Theme::light}) {
      for (const Sample& sample : samples(scale)) {
        const auto pixels = [&](double px) { return static_cast<int>(std::lround(px * scale)); };
        Stage stage(pixels(sample.figure.width), pixels(sample.figure.height), scale);
        SKIP_WITHOUT_EGL(stage);
        const Raster seen = stage.painted(sample.figure, theme), expected = rasterise(sample.figure, theme, scale);
        const std::string name = fmt::format("{}-{}-{}", sample.name, theme == Theme::dark ? "dark" : "light", scale);
        save(name, seen);
        save(name + "-png", expected);
        fmt::print("{} {:.3f}\n", name, mean_difference(seen, expected));
      }
    }
  }
}

}  // namespace
}  // namespace headscope::gui
