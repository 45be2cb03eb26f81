#include "core/views/fonts.h"

#include <fmt/format.h>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/views/font_faces.h"
#include "core/views/utf8.h"

extern "C" {
extern const unsigned char headscope_font_roboto_regular[], headscope_font_roboto_regular_end[];
extern const unsigned char headscope_font_roboto_medium[], headscope_font_roboto_medium_end[];
extern const unsigned char headscope_font_jetbrains_mono[], headscope_font_jetbrains_mono_end[];
extern const unsigned char headscope_font_dejavu_sans[], headscope_font_dejavu_sans_end[];
}

namespace headscope {
namespace {

constexpr std::string_view ellipsis = "\u2026";

/// Characters that draw nothing of their own or change how others are drawn.
bool is_invisible(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0xAD || c == 0x61C || (c >= 0x200B && c <= 0x200F) ||
         (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || (c >= 0xFE00 && c <= 0xFE0F) || c == 0xFEFF ||
         (c >= 0xE000 && c <= 0xF8FF) || (c >= 0xFFF0 && c <= 0xFFFB) || (c & 0xFFFE) == 0xFFFE || c >= 0xE0000;
}

}  // namespace

std::span<const unsigned char> font_data(Font font) {
  switch (font) {
    case Font::roboto_regular:
      return {headscope_font_roboto_regular, headscope_font_roboto_regular_end};
    case Font::roboto_medium:
      return {headscope_font_roboto_medium, headscope_font_roboto_medium_end};
    case Font::jetbrains_mono:
      return {headscope_font_jetbrains_mono, headscope_font_jetbrains_mono_end};
    case Font::dejavu_sans:
      return {headscope_font_dejavu_sans, headscope_font_dejavu_sans_end};
  }
  return {};
}

TextStyle text_style(TextRole role) {
  switch (role) {
    case TextRole::title:
      return {Font::roboto_medium, 19};
    case TextRole::text:
      return {Font::roboto_regular, 15};
    case TextRole::caption:
      return {Font::roboto_regular, 13};
    case TextRole::label:
      return {Font::roboto_medium, 15};
    case TextRole::number:
      return {Font::jetbrains_mono, 13};
    case TextRole::number_small:
      return {Font::jetbrains_mono, 11};
  }
  return {Font::roboto_regular, 15};
}

FontFaces::FontFaces() {
  if (FT_Init_FreeType(&library_) != 0) fail("FreeType could not be started; text cannot be drawn.");
  for (size_t i = 0; i < faces_.size(); ++i) {
    const auto data = font_data(static_cast<Font>(i));
    if (FT_New_Memory_Face(library_, data.data(), static_cast<FT_Long>(data.size()), 0, &faces_[i]) != 0) {
      FT_Done_FreeType(library_);
      fail("built-in font number {} could not be read; the program file is damaged: install it again.", i);
    }
  }
}

FontFaces::~FontFaces() { FT_Done_FreeType(library_); }

FontFaces::Glyph FontFaces::glyph(Font font, char32_t code_point) const {
  if (code_point < 128) {
    Glyph& known = ascii_[static_cast<size_t>(font)][code_point];
    if (known.face == nullptr) known = find_glyph(font, code_point);
    return known;
  }
  const auto [entry, is_new] = glyphs_.try_emplace({font, code_point});
  if (is_new) entry->second = find_glyph(font, code_point);
  return entry->second;
}

FontFaces::Glyph FontFaces::find_glyph(Font font, char32_t code_point) const {
  FT_Face face = faces_[static_cast<size_t>(font)];
  FT_UInt index = FT_Get_Char_Index(face, code_point);
  if (index == 0) {
    FT_Face fallback = faces_[static_cast<size_t>(Font::dejavu_sans)];
    index = FT_Get_Char_Index(fallback, code_point);
    if (index != 0) face = fallback;
  }
  double advance = 0.5;
  if (FT_Load_Glyph(face, index, FT_LOAD_NO_SCALE) == 0) {
    advance = static_cast<double>(face->glyph->advance.x) / face->units_per_EM;
  }
  return {face, index, advance};
}

TextMeasurer::TextMeasurer() : faces_(std::make_unique<FontFaces>()) {}
TextMeasurer::~TextMeasurer() = default;

double TextMeasurer::width(std::string_view utf8, TextRole role) const {
  const TextStyle style = text_style(role);
  double em = 0;
  for (size_t i = 0; i < utf8.size();) em += faces_->glyph(style.font, next_code_point(utf8, i)).advance;
  return em * style.size;
}

bool TextMeasurer::has_glyph(char32_t c) const {
  return faces_->glyph(Font::roboto_regular, c).index != 0 || faces_->glyph(Font::jetbrains_mono, c).index != 0;
}

std::string TextMeasurer::fitted(std::string_view utf8, TextRole role, double limit) const {
  if (width(utf8, role) <= limit) return std::string(utf8);
  const TextStyle style = text_style(role);
  double used = width(ellipsis, role);
  if (used > limit) return {};
  size_t end = 0;
  for (size_t i = 0; i < utf8.size(); end = i) {
    used += faces_->glyph(style.font, next_code_point(utf8, i)).advance * style.size;
    if (used > limit) break;
  }
  while (end > 0 && utf8[end - 1] == ' ') --end;
  return std::string(utf8.substr(0, end)) + std::string(ellipsis);
}

std::vector<std::string> TextMeasurer::wrapped(std::string_view utf8, TextRole role, double limit,
                                               size_t max_lines) const {
  std::vector<std::string> lines;
  while (!utf8.empty() && lines.size() + 1 < max_lines && width(utf8, role) > limit) {
    size_t end = 0;
    for (size_t space = utf8.find(' '); space != utf8.npos; space = utf8.find(' ', space + 1)) {
      if (width(utf8.substr(0, space), role) > limit) break;
      end = space;
    }
    if (end == 0) break;
    lines.emplace_back(utf8.substr(0, end));
    utf8.remove_prefix(end);
    while (!utf8.empty() && utf8.front() == ' ') utf8.remove_prefix(1);
  }
  if (std::string last = fitted(utf8, role, limit); !last.empty()) lines.push_back(std::move(last));
  return lines;
}

std::string printable(std::string_view utf8, const TextMeasurer& measurer) {
  std::string out;
  for (size_t i = 0; i < utf8.size();) {
    const char32_t c = next_code_point(utf8, i);
    if (is_invisible(c) || !measurer.has_glyph(c)) {
      out += fmt::format("U+{:04X}", static_cast<uint32_t>(c));
    } else {
      append_utf8(out, c);
    }
  }
  return out;
}

std::string token_label(std::string_view piece, const TextMeasurer& measurer) {
  if (piece.empty()) return "\u2205";
  std::string marked;
  for (const char c : piece) {
    if (c == ' ') {
      marked += "\u00B7";
    } else if (c == '\n') {
      marked += "\u21B5";
    } else if (c == '\t') {
      marked += "\u21E5";
    } else {
      marked += c;
    }
  }
  return printable(marked, measurer);
}

}  // namespace headscope
