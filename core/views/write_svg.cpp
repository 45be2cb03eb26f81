#include <fmt/format.h>

#include <cmath>

#include "core/base/text.h"
#include "core/views/utf8.h"
#include "core/views/write.h"

namespace headscope {
namespace {

/// Text for XML 1.0: markup escaped, characters that XML forbids replaced.
std::string escaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_code_point(text, i);
    const bool forbidden = (c < 0x20 && c != '\n' && c != '\t') || c == 0xFFFE || c == 0xFFFF;
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      append_utf8(out, forbidden ? replacement_character : c);
    }
  }
  return out;
}

std::string base64(std::string_view bytes) {
  static constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) out += i + k <= bytes.size() ? digits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

/// Coordinates to a thousandth of a px, without needless digits.
std::string number(double value) {
  std::string text = fmt::format("{:.3f}", value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text == "-0" ? "0" : text;
}

std::string font_attributes(TextRole role) {
  const TextStyle style = text_style(role);
  if (style.font == Font::jetbrains_mono) {
    return fmt::format(
        R"(font-family="'JetBrains Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="{}")", style.size);
  }
  return fmt::format(R"(font-family="Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif" font-size="{}"{})",
                     style.size, style.font == Font::roboto_medium ? R"( font-weight="500")" : "");
}

class SvgWriter {
 public:
  explicit SvgWriter(Theme theme) : theme_(theme) {}

  std::string paint(std::string_view attribute, const Paint& p) const {
    std::string out = fmt::format(R"({}="{}")", attribute, hex(colour(p.role, theme_)));
    if (p.opacity < 1) out += fmt::format(R"( {}-opacity="{}")", attribute, number(p.opacity));
    return out;
  }

  static std::string hex(Rgb c) { return fmt::format("#{:02X}{:02X}{:02X}", c.r, c.g, c.b); }

  std::string operator()(const TextMark& t) const {
    static constexpr const char* anchors[] = {"start", "middle", "end"};
    const std::string place =
        t.upward ? fmt::format(R"svg(transform="translate({} {}) rotate(-90)")svg", number(t.at.x), number(t.at.y))
                 : fmt::format(R"(x="{}" y="{}")", number(t.at.x), number(t.at.y));
    return fmt::format(R"(<text {} {} {} text-anchor="{}" textLength="{}" lengthAdjust="spacingAndGlyphs">{}</text>)",
                       place, font_attributes(t.role), paint("fill", t.paint), anchors[static_cast<int>(t.anchor)],
                       number(measurer_.width(t.text, t.role)), escaped(t.text));
  }
  std::string operator()(const LineMark& l) const {
    return fmt::format(R"(<line x1="{}" y1="{}" x2="{}" y2="{}" {} stroke-width="{}" stroke-linecap="square"/>)",
                       number(l.from.x), number(l.from.y), number(l.to.x), number(l.to.y), paint("stroke", l.paint),
                       number(l.width));
  }
  std::string operator()(const RectMark& r) const {
    std::string out;
    const auto rect = [&](const Box& b, double corner, const std::string& how) {
      out +=
          fmt::format(R"(<rect x="{}" y="{}" width="{}" height="{}"{} {}/>)", number(b.x), number(b.y), number(b.width),
                      number(b.height), corner > 0 ? fmt::format(R"( rx="{}")", number(corner)) : std::string(), how);
    };
    if (r.fill) rect(r.box, r.corner, paint("fill", *r.fill));
    if (r.stroke) {
      const double half = r.stroke_width / 2;
      rect(r.box.grown(-half), std::max(0.0, r.corner - half),
           fmt::format(R"(fill="none" {} stroke-width="{}")", paint("stroke", *r.stroke), number(r.stroke_width)));
    }
    // A rectangle with neither only catches the pointer.
    if (!r.fill && !r.stroke) rect(r.box, r.corner, R"(fill="none" pointer-events="all")");
    return out;
  }
  std::string operator()(const PolylineMark& p) const {
    return fmt::format(
        R"(<polyline points="{}" fill="none" {} stroke-width="{}" stroke-linecap="square" stroke-linejoin="miter"/>)",
        points(p.points), paint("stroke", p.paint), number(p.width));
  }
  std::string operator()(const PolygonMark& p) const {
    return fmt::format(R"(<polygon points="{}" {}/>)", points(p.points), paint("fill", p.paint));
  }
  std::string operator()(const ImageMark& image) {
    if (image.grid.empty()) return {};
    Raster cells{image.grid.cols, image.grid.rows, {}};
    cells.rgb.reserve(static_cast<size_t>(cells.width * cells.height * 3));
    if (!colours_ || colours_->scale() != image.scale) colours_.emplace(image.scale, theme_);
    for (int64_t r = 0; r < image.grid.rows; ++r) {
      for (int64_t c = 0; c < image.grid.cols; ++c) {
        const Rgb rgb = (*colours_)(static_cast<double>(image.grid.at(r, c)));
        cells.rgb.insert(cells.rgb.end(), {rgb.r, rgb.g, rgb.b});
      }
    }
    return fmt::format(
        R"(<image x="{}" y="{}" width="{}" height="{}" preserveAspectRatio="none" style="image-rendering:pixelated" )"
        R"(xlink:href="data:image/png;base64,{}"/>)",
        number(image.box.x), number(image.box.y), number(image.box.width), number(image.box.height),
        base64(png_bytes(cells)));
  }

 private:
  static std::string points(const std::vector<Point>& list) {
    std::string out;
    for (const Point& p : list) out += fmt::format("{}{},{}", out.empty() ? "" : " ", number(p.x), number(p.y));
    return out;
  }

  Theme theme_;
  TextMeasurer measurer_;
  std::optional<CellColours> colours_;  ///< of the image before, mostly the same for all
};

}  // namespace

std::string svg_text(const Figure& figure, Theme theme, double scale) {
  check_picture_size(figure.width, figure.height, scale);
  SvgWriter writer(theme);
  std::string out = fmt::format(
      R"(<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{}" height="{}" viewBox="0 0 {} {}" style="white-space:pre">
<title>{}</title>
<desc>{}</desc>
<rect width="100%" height="100%" fill="{}"/>
)",
      number(figure.width * scale), number(figure.height * scale), number(figure.width), number(figure.height),
      escaped(figure.title), escaped(figure.sentence), SvgWriter::hex(colour(figure.background, theme)));
  for (const Primitive& primitive : figure.primitives) {
    const std::string shape = std::visit(writer, primitive.shape);
    if (primitive.hit) {
      out += fmt::format("<g data-id=\"{}\"><title>{}</title>{}</g>\n", escaped(primitive.hit->id),
                         escaped(primitive.hit->tooltip), shape);
    } else {
      out += shape + "\n";
    }
  }
  return out + "</svg>\n";
}

}  // namespace headscope
