#pragma once

/// How Dear ImGui is compiled, here and in its own sources (IMGUI_USER_CONFIG): characters beyond U+FFFF, no old names,
/// no fonts of its own, and misuse that is reported instead of ending the program.

namespace headscope::gui {

/// Called by a failed IM_ASSERT; see imgui_misuse.h.
void report_imgui_misuse(const char* expression, const char* file, int line) noexcept;

}  // namespace headscope::gui

#define IM_ASSERT(expression) \
  ((expression) ? static_cast<void>(0) : ::headscope::gui::report_imgui_misuse(#expression, __FILE__, __LINE__))

#define IMGUI_USE_WCHAR32
#define IMGUI_DISABLE_OBSOLETE_FUNCTIONS
#define IMGUI_DISABLE_DEMO_WINDOWS
#define IMGUI_DISABLE_DEFAULT_FONT
#define IMGUI_DISABLE_STB_TRUETYPE  // glyphs come from glyph_loader.h
#define ImDrawIdx unsigned int      // a chart may have more than 65,536 corners
