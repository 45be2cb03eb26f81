#include "app/gui/paint/fonts.h"

#include "app/gui/paint/glyph_loader.h"

namespace headscope::gui {
namespace {

constexpr const char* names[] = {"Roboto", "Roboto Medium", "JetBrains Mono", "DejaVu Sans"};

ImFont* add_font(Font font, unsigned int flags) {
  const auto data = font_data(font);
  ImFontConfig config;
  config.FontData = const_cast<unsigned char*>(data.data());  // read only, whatever the type says
  config.FontDataSize = static_cast<int>(data.size());
  config.FontDataOwnedByAtlas = false;
  config.FontLoaderFlags = static_cast<unsigned int>(font) | flags;
  ImStrncpy(config.Name, names[static_cast<size_t>(font)], sizeof config.Name);
  return ImGui::GetIO().Fonts->AddFont(&config);
}

}  // namespace

Fonts::Fonts() {
  ImGui::GetIO().Fonts->SetFontLoader(GlyphLoader::callbacks());
  for (size_t i = 0; i < fonts_.size(); ++i) {
    fonts_[i] = add_font(static_cast<Font>(i), 0);
    figure_fonts_[i] = add_font(static_cast<Font>(i), GlyphLoader::for_figures);
  }
  ImGui::GetIO().FontDefault = font(TextRole::text);
}

ImFont* Fonts::font(TextRole role) const { return fonts_[static_cast<size_t>(text_style(role).font)]; }

ImFont* Fonts::figure_font(TextRole role) const { return figure_fonts_[static_cast<size_t>(text_style(role).font)]; }

float Fonts::size(TextRole role, double scale) const {
  const TextStyle style = text_style(role);
  const GlyphLoader& loader = GlyphLoader::of(*fonts_[0]->OwnerAtlas);
  return static_cast<float>(style.size * scale * loader.height_of_em(style.font));
}

ImVec4 to_vec4(const Paint& paint, Theme theme) {
  const Rgb c = colour(paint.role, theme);
  const auto part = [](uint8_t channel) { return static_cast<float>(channel) / 255.0f; };
  return {part(c.r), part(c.g), part(c.b), static_cast<float>(paint.opacity)};
}

ImU32 to_u32(const Paint& paint, Theme theme) { return ImGui::ColorConvertFloat4ToU32(to_vec4(paint, theme)); }

}  // namespace headscope::gui
