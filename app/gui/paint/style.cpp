#include <cmath>

#include "app/gui/paint/fonts.h"
#include "app/gui/paint/glyph_loader.h"

namespace headscope::gui {
namespace {

void set_measures(ImGuiStyle& style, float px) {
  style = ImGuiStyle();
  const float line = std::max(1.0f, std::round(px));  // a hairline stays one
  const auto at = [px](float x, float y) { return ImVec2(std::round(x * px), std::round(y * px)); };
  style.WindowPadding = at(16, 16);
  style.WindowRounding = style.ChildRounding = style.PopupRounding = style.FrameRounding = std::round(5 * px);
  style.GrabRounding = style.TabRounding = style.ScrollbarRounding = std::round(5 * px);
  style.MenuItemRounding = style.DragDropTargetRounding = std::round(5 * px);
  style.WindowBorderSize = 0;
  style.ChildBorderSize = style.PopupBorderSize = line;
  style.FrameBorderSize = 0;
  style.WindowMinSize = at(64, 32);
  style.WindowMenuButtonPosition = ImGuiDir_None;
  style.FramePadding = at(10, 7);  // with 18 of text: a control of 32
  style.ItemSpacing = at(8, 8);
  style.ItemInnerSpacing = at(8, 4);
  style.CellPadding = at(8, 4);  // with 18 of text: a row of 26
  style.IndentSpacing = std::round(16 * px);
  style.ColumnsMinSpacing = std::round(8 * px);
  style.ScrollbarSize = std::round(12 * px);
  style.ScrollbarPadding = std::round(3 * px);
  style.GrabMinSize = std::round(12 * px);
  style.TabBorderSize = 0;
  style.TabBarBorderSize = 0;
  style.TabBarOverlineSize = std::round(2 * px);
  style.TabMinWidthBase = std::round(48 * px);
  style.TabMinWidthShrink = std::round(48 * px);
  style.SeparatorSize = style.SeparatorTextBorderSize = line;
  style.SeparatorTextPadding = at(0, 4);
  style.InputTextCursorSize = line;
  style.DockingSeparatorSize = std::round(12 * px);
  style.DragDropTargetBorderSize = 2 * line;
  style.TreeLinesSize = line;
}

struct Pair {
  ImGuiCol colour;
  Paint paint;
};

void set_colours(ImGuiStyle& style, Theme theme, ColourRole accent) {
  using enum ColourRole;
  const Paint none{window, 0};
  const Pair pairs[] = {
      {ImGuiCol_Text, {text}},
      {ImGuiCol_TextDisabled, {dim}},
      {ImGuiCol_WindowBg, {panel}},
      {ImGuiCol_ChildBg, none},
      {ImGuiCol_PopupBg, {raised}},
      {ImGuiCol_Border, {line}},
      {ImGuiCol_BorderShadow, none},
      {ImGuiCol_FrameBg, {raised}},
      {ImGuiCol_FrameBgHovered, {line}},
      {ImGuiCol_FrameBgActive, {line}},
      {ImGuiCol_TitleBg, {window}},
      {ImGuiCol_TitleBgActive, {window}},
      {ImGuiCol_TitleBgCollapsed, {window}},
      {ImGuiCol_MenuBarBg, {panel}},
      {ImGuiCol_ScrollbarBg, none},
      {ImGuiCol_ScrollbarGrab, {line}},
      {ImGuiCol_ScrollbarGrabHovered, {dim, 0.6}},
      {ImGuiCol_ScrollbarGrabActive, {dim}},
      {ImGuiCol_CheckMark, {accent}},
      {ImGuiCol_CheckboxSelectedBg, {raised}},
      {ImGuiCol_SliderGrab, {accent}},
      {ImGuiCol_SliderGrabActive, {accent}},
      {ImGuiCol_Button, {raised}},
      {ImGuiCol_ButtonHovered, {line}},
      {ImGuiCol_ButtonActive, {accent, 0.4}},
      {ImGuiCol_Header, {accent, 0.25}},
      {ImGuiCol_HeaderHovered, {line}},
      {ImGuiCol_HeaderActive, {accent, 0.4}},
      {ImGuiCol_Separator, {window}},
      {ImGuiCol_SeparatorHovered, {line}},
      {ImGuiCol_SeparatorActive, {accent}},
      {ImGuiCol_ResizeGrip, none},
      {ImGuiCol_ResizeGripHovered, {line}},
      {ImGuiCol_ResizeGripActive, {accent}},
      {ImGuiCol_InputTextCursor, {text}},
      {ImGuiCol_TabHovered, {raised}},
      {ImGuiCol_Tab, {window}},
      {ImGuiCol_TabSelected, {panel}},
      {ImGuiCol_TabSelectedOverline, {accent}},
      {ImGuiCol_TabDimmed, {window}},
      {ImGuiCol_TabDimmedSelected, {panel}},
      {ImGuiCol_TabDimmedSelectedOverline, {accent}},
      {ImGuiCol_DockingPreview, {accent, 0.4}},
      {ImGuiCol_DockingEmptyBg, {window}},
      {ImGuiCol_PlotLines, {accent}},
      {ImGuiCol_PlotLinesHovered, {text}},
      {ImGuiCol_PlotHistogram, {accent}},
      {ImGuiCol_PlotHistogramHovered, {text}},
      {ImGuiCol_TableHeaderBg, {panel}},
      {ImGuiCol_TableBorderStrong, {line}},
      {ImGuiCol_TableBorderLight, {line}},
      {ImGuiCol_TableRowBg, none},
      {ImGuiCol_TableRowBgAlt, {raised, 0.4}},
      {ImGuiCol_TextLink, {accent}},
      {ImGuiCol_TextSelectedBg, {accent, 0.35}},
      {ImGuiCol_TreeLines, {line}},
      {ImGuiCol_DragDropTarget, {accent}},
      {ImGuiCol_DragDropTargetBg, {accent, 0.15}},
      {ImGuiCol_UnsavedMarker, {text}},
      {ImGuiCol_NavCursor, {accent}},
      {ImGuiCol_NavWindowingHighlight, {accent}},
      {ImGuiCol_NavWindowingDimBg, {window, 0.6}},
      {ImGuiCol_ModalWindowDimBg, {window, 0.6}},
  };
  static_assert(std::size(pairs) == ImGuiCol_COUNT, "every colour of ImGui has a role");
  for (const auto& [index, paint] : pairs) style.Colors[index] = to_vec4(paint, theme);
}

}  // namespace

void apply_style(Theme theme, double scale, ColourRole accent) {
  ImGuiStyle& style = ImGui::GetStyle();
  set_measures(style, static_cast<float>(scale));
  set_colours(style, theme, accent);
  ImFontAtlas& atlas = *ImGui::GetIO().Fonts;
  if (atlas.FontLoader != GlyphLoader::callbacks() || atlas.FontLoaderData == nullptr) return;
  GlyphLoader& loader = GlyphLoader::of(atlas);
  const TextStyle text = text_style(TextRole::text);
  style.FontSizeBase = static_cast<float>(text.size * scale * loader.height_of_em(text.font));
  if (loader.set_scale(scale)) ImFontAtlasBuildDiscardBakes(&atlas, 0);
}

}  // namespace headscope::gui
