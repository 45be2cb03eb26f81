#include "app/gui/paint/glyph_loader.h"

#include FT_OUTLINE_H

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace headscope::gui {
namespace {

constexpr TextRole roles[] = {TextRole::title, TextRole::text,   TextRole::caption,
                              TextRole::label, TextRole::number, TextRole::number_small};

Font font_of(const ImFontConfig& source) { return static_cast<Font>(source.FontLoaderFlags & 0xFF); }

/// Grey values of a glyph, `finer` columns a pixel, each the coverage of the whole pixel around it: what bilinear
/// sampling at any fractional place needs. Left and top are whole columns and pixels from the origin, y up.
struct Bitmap {
  int width = 0, height = 0, left = 0, top = 0;
  std::vector<unsigned char> grey;
};

/// Renders `outline`, already `finer` times as wide.
Bitmap rendered(FT_Library library, FT_Outline& outline, int finer) {
  FT_BBox box;
  FT_Outline_Get_CBox(&outline, &box);
  Bitmap out;
  out.left = static_cast<int>(box.xMin >> 6);
  out.top = static_cast<int>((box.yMax + 63) >> 6);
  const int columns = static_cast<int>((box.xMax + 63) >> 6) - out.left;
  out.height = out.top - static_cast<int>(box.yMin >> 6);
  if (columns <= 0 || out.height <= 0) return {};
  std::vector<unsigned char> fine(static_cast<size_t>(columns) * static_cast<size_t>(out.height));
  FT_Bitmap bitmap{};
  bitmap.width = static_cast<unsigned>(columns);
  bitmap.rows = static_cast<unsigned>(out.height);
  bitmap.pitch = columns;
  bitmap.buffer = fine.data();
  bitmap.num_grays = 256;
  bitmap.pixel_mode = FT_PIXEL_MODE_GRAY;
  FT_Outline_Translate(&outline, -out.left * 64, (out.height - out.top) * 64);
  if (FT_Outline_Get_Bitmap(library, &outline, &bitmap) != 0) return {};
  out.width = columns + finer - 1;
  out.grey.resize(static_cast<size_t>(out.width) * static_cast<size_t>(out.height));
  for (int y = 0; y < out.height; ++y) {
    const unsigned char* row = fine.data() + static_cast<ptrdiff_t>(y) * columns;
    unsigned char* to = out.grey.data() + static_cast<ptrdiff_t>(y) * out.width;
    int sum = 0;
    for (int x = 0; x < out.width; ++x) {
      if (x < columns) sum += row[x];
      if (x >= finer) sum -= row[x - finer];
      to[x] = static_cast<unsigned char>((sum + finer / 2) / finer);
    }
  }
  return out;
}

}  // namespace

const ImFontLoader* GlyphLoader::callbacks() {
  static const ImFontLoader instance = [] {
    ImFontLoader loader;
    loader.Name = "HeadScope";
    loader.LoaderInit = [](ImFontAtlas* atlas) {
      atlas->FontLoaderData = new GlyphLoader;
      return true;
    };
    loader.LoaderShutdown = [](ImFontAtlas* atlas) {
      delete &of(atlas);
      atlas->FontLoaderData = nullptr;
    };
    loader.FontSrcGetGlyphIndexFromCodepoint = find;
    loader.FontBakedInit = init_baked;
    loader.FontBakedLoadGlyph = load;
    return loader;
  }();
  return &instance;
}

double GlyphLoader::height_of_em(Font font) const {
  const FT_Face face = faces_.glyph(font, U' ').face;
  return static_cast<double>(face->ascender - face->descender) / face->units_per_EM;
}

bool GlyphLoader::set_scale(double scale) { return std::exchange(scale_, scale) != scale; }

double GlyphLoader::em(const ImFontConfig& source, float size) const {
  const Font font = font_of(source);
  const double height = height_of_em(font);
  if ((source.FontLoaderFlags & for_figures) == 0) {
    for (const TextRole role : roles) {
      const TextStyle style = text_style(role);
      const double exact = style.size * scale_;
      if (style.font == font && std::lround(exact * height) == std::lround(size)) return exact;
    }
  }
  return static_cast<double>(size) / height;
}

bool GlyphLoader::init_baked(ImFontAtlas* atlas, ImFontConfig* source, ImFontBaked* baked, void*) {
  const GlyphLoader& self = of(atlas);
  const FT_Face face = self.faces_.glyph(font_of(*source), U' ').face;
  const double density = static_cast<double>(baked->RasterizerDensity);
  const double pixels = self.em(*source, baked->Size) * density / face->units_per_EM;
  baked->Ascent = static_cast<float>(std::round(face->ascender * pixels) / density);
  baked->Descent = static_cast<float>(std::round(face->descender * pixels) / density);
  return true;
}

/// The loader looks characters up itself, with DejaVu Sans behind each font, so its glyph numbers are the characters.
int GlyphLoader::find(ImFontAtlas*, ImFontConfig*, ImWchar code_point) {
  const bool control = code_point < 0x20 || code_point == 0x7F;
  return control ? 0 : static_cast<int>(code_point);
}

bool GlyphLoader::load(ImFontAtlas* atlas, ImFontConfig* source, ImFontBaked* baked, void*, int code_point,
                       ImFontGlyph* out, float* only_advance) {
  GlyphLoader& self = of(atlas);
  const FontFaces::Glyph glyph = self.faces_.glyph(font_of(*source), static_cast<char32_t>(code_point));
  const double em = self.em(*source, baked->Size);
  const auto advance = static_cast<float>(glyph.advance * em);
  if (only_advance != nullptr) {
    *only_advance = advance;
    return true;
  }
  out->AdvanceX = advance;
  return self.render(*atlas, *source, *baked, glyph, em * static_cast<double>(baked->RasterizerDensity), *out);
}

bool GlyphLoader::render(ImFontAtlas& atlas, ImFontConfig& source, ImFontBaked& baked, const FontFaces::Glyph& glyph,
                         double em_pixels, ImFontGlyph& out) {
  const auto size = static_cast<FT_F26Dot6>(std::lround(em_pixels * 64));
  if (FT_Set_Char_Size(glyph.face, size, size, 72, 72) != 0 ||
      FT_Load_Glyph(glyph.face, glyph.index, FT_LOAD_NO_BITMAP | FT_LOAD_TARGET_LIGHT) != 0 ||
      glyph.face->glyph->format != FT_GLYPH_FORMAT_OUTLINE) {
    return true;  // its room stays empty
  }
  const int finer = em_pixels < 24 ? 4 : 2;
  FT_Matrix widen{finer * 0x10000, 0, 0, 0x10000};
  FT_Outline& outline = glyph.face->glyph->outline;
  FT_Outline_Transform(&outline, &widen);
  const Bitmap bitmap = rendered(faces_.library(), outline, finer);
  if (bitmap.grey.empty()) return true;

  const ImFontAtlasRectId id = ImFontAtlasPackAddRect(&atlas, bitmap.width, bitmap.height);
  if (id == ImFontAtlasRectId_Invalid) return true;
  ImTextureRect* place = ImFontAtlasPackGetRect(&atlas, id);
  const float density = baked.RasterizerDensity;
  // Column k of the bitmap is what a pixel covers whose centre is (left + k + 1 - finer / 2) / finer from the origin.
  const float left =
      (static_cast<float>(bitmap.left) + 0.5f - static_cast<float>(finer) / 2) / static_cast<float>(finer);
  out.X0 = left / density;
  out.X1 = (left + static_cast<float>(bitmap.width) / static_cast<float>(finer)) / density;
  out.Y0 = baked.Ascent - static_cast<float>(bitmap.top) / density;
  out.Y1 = out.Y0 + static_cast<float>(bitmap.height) / density;
  out.Visible = true;
  out.PackId = id;
  ImFontAtlasBakedSetFontGlyphBitmap(&atlas, &baked, &source, &out, place, bitmap.grey.data(), ImTextureFormat_Alpha8,
                                     bitmap.width);
  return true;
}

}  // namespace headscope::gui
