#include "app/gui/paint/painter.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>

#include "app/gui/paint/figure_plan.h"
#include "app/gui/paint/image_layer.h"
#include "app/gui/paint/shapes.h"

namespace headscope::gui {
namespace {

/// Frames that a place keeps its texture without being shown.
constexpr int patience = 240;

/// First pixel whose centre is not before `at`, as the PNG writer counts.
int64_t first_pixel(double at) { return static_cast<int64_t>(std::ceil(at - 0.5)); }

/// Where an image stands, in pixels from the figure's corner; the pixels are those inside the figure.
struct Pixels {
  double x, y, width, height;
  int64_t left, top, right, bottom;

  Pixels(const Box& box, const Figure& figure, double scale)
      : x(box.x * scale), y(box.y * scale), width(box.width * scale), height(box.height * scale) {
    left = std::max<int64_t>(0, first_pixel(x));
    top = std::max<int64_t>(0, first_pixel(y));
    right = std::min<int64_t>(std::lround(figure.width * scale), first_pixel(x + width));
    bottom = std::min<int64_t>(std::lround(figure.height * scale), first_pixel(y + height));
  }
  bool empty() const { return right <= left || bottom <= top; }
  /// Whether the image has more cells than pixels along one side.
  bool is_smaller_than(const Grid& grid) const {
    return static_cast<double>(grid.rows) > height || static_cast<double>(grid.cols) > width;
  }
};

/// The cells of `grid` that lie under the centres of pixels, in the arithmetic of the PNG writer.
Grid under_pixels(const Grid& grid, const Pixels& p) {
  const auto cell = [](int64_t pixel, double begin, double size, int64_t cells) {
    const double along = (static_cast<double>(pixel) + 0.5 - begin) / size * static_cast<double>(cells);
    return std::clamp<int64_t>(static_cast<int64_t>(along), 0, cells - 1);
  };
  std::vector<float> values;
  values.reserve(static_cast<size_t>((p.bottom - p.top) * (p.right - p.left)));
  for (int64_t y = p.top; y < p.bottom; ++y) {
    const int64_t row = cell(y, p.y, p.height, grid.rows);
    for (int64_t x = p.left; x < p.right; ++x) values.push_back(grid.at(row, cell(x, p.x, p.width, grid.cols)));
  }
  return Grid::of(p.bottom - p.top, p.right - p.left, std::move(values));
}

/// What is kept of the figure shown at one place.
struct Place {
  uint64_t version = 0;
  size_t primitives = 0;
  double scale = 0;  ///< 0: the texture serves every scale
  int last_frame = 0;
  FigurePlan plan;
  std::vector<bool> by_pixel;  ///< by image: has more cells than pixels, so only those under pixels are kept
  GridTexture texture;

  bool holds(const Figure& figure, uint64_t wanted, double at_scale) const {
    return last_frame != 0 && version == wanted && primitives == figure.primitives.size() &&
           (scale == 0 || scale == at_scale);
  }

  void take(const Figure& figure, uint64_t new_version, double at_scale, const TextMeasurer& measurer) {
    plan = plan_of(figure, measurer);
    std::vector<Grid> grids;
    by_pixel.clear();
    scale = 0;
    for (const size_t i : plan.images) {
      const auto& mark = std::get<ImageMark>(figure.primitives[i].shape);
      const Pixels pixels(mark.box, figure, at_scale);
      const bool seen = !mark.grid.empty() && !pixels.empty();
      by_pixel.push_back(seen && pixels.is_smaller_than(mark.grid));
      grids.push_back(!seen ? Grid{} : by_pixel.back() ? under_pixels(mark.grid, pixels) : mark.grid);
      if (by_pixel.back()) scale = at_scale;
    }
    if (!grids.empty()) texture.fill(grids);
    version = new_version;
    primitives = figure.primitives.size();
  }
};

/// Draws the shapes of one figure.
class Brush {
 public:
  Brush(const Fonts& fonts, ImDrawList& list, ImVec2 origin, double scale, Theme theme)
      : fonts_(fonts),
        list_(list),
        x_(static_cast<double>(origin.x)),
        y_(static_cast<double>(origin.y)),
        scale_(scale),
        theme_(theme) {}

  void operator()(const LineMark& l, double) const {
    stroke_line(list_, scaled({l.from, l.to}), l.width * scale_, u32(l.paint));
  }
  void operator()(const PolylineMark& p, double) const {
    stroke_line(list_, scaled(p.points), p.width * scale_, u32(p.paint));
  }
  void operator()(const PolygonMark& p, double) const { fill_polygon(list_, scaled(p.points), u32(p.paint)); }
  void operator()(const ImageMark&, double) const {}  // drawn with its batch
  void operator()(const RectMark& r, double) const {
    const Box box = scaled(r.box);
    const double corner = std::min({r.corner * scale_, box.width / 2, box.height / 2});
    if (r.fill && corner > 0) {
      fill_rounded(list_, box, corner, u32(*r.fill));
    } else if (r.fill) {
      fill_box(list_, box, u32(*r.fill));
    }
    if (r.stroke) stroke_box(list_, box, r.stroke_width * scale_, corner, u32(*r.stroke));
  }
  void operator()(const TextMark& t, double width) const {
    const double before = t.anchor == Anchor::start ? 0 : t.anchor == Anchor::middle ? width / 2 : width;
    if (t.upward) {
      upward({t.at.x, t.at.y + before}, t);
    } else {
      letters(t, static_cast<float>(x_ + (t.at.x - before) * scale_),
              static_cast<float>(y_ + std::round(t.at.y * scale_)), list_.GetClipRectMin(), list_.GetClipRectMax());
    }
  }

 private:
  ImU32 u32(const Paint& paint) const { return to_u32(paint, theme_); }
  Box scaled(const Box& b) const { return {x_ + b.x * scale_, y_ + b.y * scale_, b.width * scale_, b.height * scale_}; }
  std::vector<Point> scaled(std::vector<Point> points) const {
    for (Point& p : points) p = {x_ + p.x * scale_, y_ + p.y * scale_};
    return points;
  }

  /// Letters from `x` on along the baseline. ImGui renders glyphs at whole sizes and stretches them; the density makes
  /// it render them at the very size.
  void letters(const TextMark& t, float x, float baseline, ImVec2 low, ImVec2 high) const {
    ImFont* font = fonts_.figure_font(t.role);
    const float size = fonts_.size(t.role, scale_), whole = std::floor(size + 0.5f);
    if (whole < 1 || t.text.empty()) return;
    const float density = size / whole;
    font->CurrentRasterizerDensity = density;
    const float top = baseline - std::round(font->GetFontBaked(size)->Ascent * density);
    font->RenderText(&list_, size, {x, top}, u32(t.paint), {low.x, low.y, high.x, high.y}, t.text.data(),
                     t.text.data() + t.text.size(), 0, ImDrawFlags_TextNoPixelSnap);
  }

  /// Draws along the x axis from 0 and turns the corners a quarter to the left around `at`.
  void upward(Point at, const TextMark& t) const {
    const auto x = static_cast<float>(x_ + std::round(at.x * scale_)), y = static_cast<float>(y_ + at.y * scale_);
    constexpr float far = std::numeric_limits<float>::max();
    const int first = list_.VtxBuffer.Size;
    letters(t, 0, 0, {-far, -far}, {far, far});
    for (int i = first; i < list_.VtxBuffer.Size; ++i) {
      ImVec2& corner = list_.VtxBuffer[i].pos;
      corner = {x + corner.y, y - corner.x};
    }
  }

  const Fonts& fonts_;
  ImDrawList& list_;
  double x_, y_, scale_;
  Theme theme_;
};

}  // namespace

struct FigurePainter::Impl {
  explicit Impl(const Fonts& f) : fonts(f) {}

  /// Once a frame: forgets what the frame before drew and the places that are shown no more.
  void begin_frame(int now) {
    if (now == frame) return;
    frame = now;
    layer.begin_frame();
    std::erase_if(places, [&](const auto& entry) { return entry.second.last_frame + patience < now; });
  }

  Place& place_of(const Figure& figure, std::string_view name, uint64_t version, double scale) {
    const auto found = places.find(name);
    Place& place = found != places.end() ? found->second : places[std::string(name)];
    if (!place.holds(figure, version, scale)) {
      place.last_frame = 0;  // should filling it throw
      place.take(figure, version, scale, measurer);
    }
    place.last_frame = std::max(frame, 1);
    return place;
  }

  void paint_images(const Figure& figure, const Place& place, FigurePlan::Batch batch, ImDrawList& list, ImVec2 origin,
                    double scale, Theme theme) {
    quads.clear();
    for (size_t i = batch.first; i < batch.first + batch.count; ++i) {
      const auto& mark = std::get<ImageMark>(figure.primitives[place.plan.images[i]].shape);
      const Pixels p(mark.box, figure, scale);
      if (mark.grid.empty() || p.empty()) continue;
      const auto part = [](auto v) { return static_cast<float>(v); };
      ImageQuad quad{};
      quad.left = origin.x + part(p.left), quad.right = origin.x + part(p.right);
      quad.top = origin.y + part(p.top), quad.bottom = origin.y + part(p.bottom);
      quad.offset = place.texture.offset(i);
      if (place.by_pixel[i]) {
        quad.begin_x = quad.left, quad.begin_y = quad.top;
        quad.cells_x = quad.cells_y = 1;
        quad.rows = static_cast<int32_t>(p.bottom - p.top), quad.cols = static_cast<int32_t>(p.right - p.left);
      } else {
        quad.begin_x = origin.x + part(p.x), quad.begin_y = origin.y + part(p.y);
        quad.cells_x = part(static_cast<double>(mark.grid.cols) / p.width);
        quad.cells_y = part(static_cast<double>(mark.grid.rows) / p.height);
        quad.rows = static_cast<int32_t>(mark.grid.rows), quad.cols = static_cast<int32_t>(mark.grid.cols);
      }
      ImageLayer::set_scale(quad, mark.scale, theme);
      quads.push_back(quad);
    }
    if (!quads.empty()) layer.add(list, place.texture, quads);
  }

  const Fonts& fonts;
  TextMeasurer measurer;
  ImageLayer layer;
  std::map<std::string, Place, std::less<>> places;
  std::vector<ImageQuad> quads;
  int frame = -1;
};

FigurePainter::FigurePainter(const Fonts& fonts) : impl_(std::make_unique<Impl>(fonts)) {}
FigurePainter::~FigurePainter() = default;

void FigurePainter::paint(const Figure& figure, std::string_view name, uint64_t version, ImDrawList& list,
                          ImVec2 origin, double scale, Theme theme, bool on_background) {
  impl_->begin_frame(ImGui::GetFrameCount());
  origin = {std::round(origin.x), std::round(origin.y)};
  const Place& place = impl_->place_of(figure, name, version, scale);
  const Brush brush(impl_->fonts, list, origin, scale, theme);
  if (!on_background) {
    fill_box(list,
             {static_cast<double>(origin.x), static_cast<double>(origin.y), std::round(figure.width * scale),
              std::round(figure.height * scale)},
             to_u32(figure.background, theme));
  }
  auto batch = place.plan.batches.begin();
  for (size_t i = 0; i < figure.primitives.size(); ++i) {
    if (batch != place.plan.batches.end() && place.plan.images[batch->first] == i) {
      impl_->paint_images(figure, place, *batch++, list, origin, scale, theme);
    }
    std::visit([&](const auto& shape) { brush(shape, place.plan.widths[i]); }, figure.primitives[i].shape);
  }
}

size_t FigurePainter::texture_bytes() const {
  size_t bytes = impl_->layer.bytes();
  for (const auto& [name, place] : impl_->places) bytes += place.texture.bytes();
  return bytes;
}

}  // namespace headscope::gui
