#pragma once

#include <span>
#include <vector>

#include <imgui.h>

#include "core/views/figure.h"

/// Shapes of a figure on an ImGui draw list, covering pixels as the PNG writer does. All coordinates are ImGui pixels.
/// Internal to FigurePainter.
namespace headscope::gui {

/// Exact coverage at fractional edges: crisp lines, even bars.
void fill_box(ImDrawList&, const Box&, ImU32 colour);

/// `width` inside the edge of the box; corners of radius `corner`.
void stroke_box(ImDrawList&, const Box&, double width, double corner, ImU32 colour);
void fill_rounded(ImDrawList&, const Box&, double corner, ImU32 colour);

/// Square caps.
void stroke_line(ImDrawList&, std::span<const Point>, double width, ImU32 colour);

/// Charts, whose edges are vertical or no steeper than one in one, are covered as exactly as boxes, and their outlines
/// may wind around a place more than once; other outlines must not cross themselves.
void fill_polygon(ImDrawList&, std::span<const Point>, ImU32 colour);

}  // namespace headscope::gui
