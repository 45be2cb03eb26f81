#include "core/views/colours.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace headscope {
namespace {

struct Row {
  ColourRole role;
  uint32_t dark, light;
};

constexpr std::array<Row, 20> table{{
    {ColourRole::window, 0x14161A, 0xF3F4F7},     {ColourRole::panel, 0x1B1E24, 0xFFFFFF},
    {ColourRole::raised, 0x252A32, 0xECEFF4},     {ColourRole::line, 0x323842, 0xD3D8E0},
    {ColourRole::text, 0xE7EAF0, 0x1B1F27},       {ColourRole::dim, 0x9BA5B5, 0x586070},
    {ColourRole::model_a, 0x4FC1B0, 0x07756A},    {ColourRole::model_b, 0xF2A65A, 0x9C4F05},
    {ColourRole::warning, 0xE5C07B, 0x7F6100},    {ColourRole::error, 0xF07A82, 0xB3261E},
    {ColourRole::category_1, 0x6EA0FF, 0x2B5FD9}, {ColourRole::category_2, 0xB98CFF, 0x7A3FD0},
    {ColourRole::category_3, 0xFF7F9F, 0xC2255C}, {ColourRole::category_4, 0xB5D35A, 0x5F7A00},
    {ColourRole::category_5, 0x6CCBFF, 0x1273B8}, {ColourRole::category_6, 0xD8C3A5, 0x7A5A3A},
    {ColourRole::selection, 0xFFFFFF, 0x1B1F27},  {ColourRole::invalid, 0x6CCBFF, 0x1273B8},
    {ColourRole::plate, 0x0E1013, 0x0E1013},      {ColourRole::plate_text, 0xE7EAF0, 0xE7EAF0},
}};

double linear(uint8_t channel) {
  const double c = channel / 255.0;
  return c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
}

uint8_t encoded(double c) {
  c = std::clamp(c, 0.0, 1.0);
  const double s = c <= 0.0031308 ? 12.92 * c : 1.055 * std::pow(c, 1 / 2.4) - 0.055;
  return static_cast<uint8_t>(std::lround(std::clamp(s, 0.0, 1.0) * 255));
}

double luminance(Rgb c) { return 0.2126 * linear(c.r) + 0.7152 * linear(c.g) + 0.0722 * linear(c.b); }

constexpr double white_x = 0.95047, white_z = 1.08883;
constexpr double lab_knee = 6.0 / 29;

double lab_f(double t) {
  return t > lab_knee * lab_knee * lab_knee ? std::cbrt(t) : t / (3 * lab_knee * lab_knee) + 4.0 / 29;
}

double lab_inverse(double t) { return t > lab_knee ? t * t * t : 3 * lab_knee * lab_knee * (t - 4.0 / 29); }

}  // namespace

Rgb colour(ColourRole role, Theme theme) {
  for (const Row& row : table) {
    if (row.role != role) continue;
    const uint32_t value = theme == Theme::dark ? row.dark : row.light;
    return {static_cast<uint8_t>(value >> 16), static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value)};
  }
  return {};
}

double lightness(Rgb c) { return 116 * lab_f(luminance(c)) - 16; }

double contrast(Rgb a, Rgb b) {
  const double la = luminance(a) + 0.05, lb = luminance(b) + 0.05;
  return std::max(la, lb) / std::min(la, lb);
}

Lab to_lab(Rgb c) {
  const double r = linear(c.r), g = linear(c.g), b = linear(c.b);
  const double fx = lab_f((0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / white_x);
  const double fy = lab_f(0.2126729 * r + 0.7151522 * g + 0.0721750 * b);
  const double fz = lab_f((0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / white_z);
  return {116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)};
}

Rgb from_lab(const Lab& lab) {
  const double fy = (lab.l + 16) / 116;
  const double x = white_x * lab_inverse(fy + lab.a / 500);
  const double y = lab_inverse(fy);
  const double z = white_z * lab_inverse(fy - lab.b / 200);
  return {encoded(3.2404542 * x - 1.5371385 * y - 0.4985314 * z),
          encoded(-0.9692660 * x + 1.8760108 * y + 0.0415560 * z),
          encoded(0.0556434 * x - 0.2040259 * y + 1.0572252 * z)};
}

}  // namespace headscope
