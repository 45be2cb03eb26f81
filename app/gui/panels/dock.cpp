#include "app/gui/panels/dock.h"

#include <imgui_internal.h>

#include <algorithm>

namespace headscope::gui {
namespace {

constexpr double gap = 12, left_width = 288, bottom_height = 140;  // px

/// The panels as the style has them.
void lay_out(const Ui& ui, ImGuiID dock) {
  const double s = ui.scale;
  const ImVec2 screen = ImGui::GetMainViewport()->Size;
  const ImVec2 size(screen.x - ui.px(2 * gap), screen.y - ui.px(top_bar_height + 2 * gap));
  ImGui::DockBuilderRemoveNode(dock);
  ImGui::DockBuilderAddNode(dock, ImGuiDockNodeFlags_DockSpace);
  ImGui::DockBuilderSetNodeSize(dock, size);
  const auto share = [](double part, float whole) { return std::clamp(static_cast<float>(part) / whole, 0.05f, 0.6f); };
  ImGuiID rest = dock, left = 0, bottom = 0, right = 0;
  left = ImGui::DockBuilderSplitNode(rest, ImGuiDir_Left, share(left_width * s, size.x), nullptr, &rest);
  bottom = ImGui::DockBuilderSplitNode(rest, ImGuiDir_Down, share(bottom_height * s, size.y), nullptr, &rest);
  right = ImGui::DockBuilderSplitNode(
      rest, ImGuiDir_Right, share(head_width * s, size.x - static_cast<float>(left_width * s)), nullptr, &rest);
  ImGui::DockBuilderDockWindow("Model", left);
  ImGui::DockBuilderDockWindow("KV", bottom);
  ImGui::DockBuilderDockWindow("Head", right);
  ImGui::DockBuilderDockWindow("Centre", rest);
  ImGui::DockBuilderFinish(dock);
}

}  // namespace

void draw_dock(Ui& ui, bool fresh) {
  const ImVec2 screen = ImGui::GetMainViewport()->Size;
  ImGui::SetNextWindowPos(ImVec2(ui.px(gap), ui.px(top_bar_height + gap)));
  ImGui::SetNextWindowSize(ImVec2(screen.x - ui.px(2 * gap), screen.y - ui.px(top_bar_height + 2 * gap)));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(0, 0));
  ImGui::Begin("##ground", nullptr,
               ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove | ImGuiWindowFlags_NoSavedSettings |
                   ImGuiWindowFlags_NoDocking | ImGuiWindowFlags_NoBackground | ImGuiWindowFlags_NoBringToFrontOnFocus |
                   ImGuiWindowFlags_NoNavFocus);
  const ImGuiID dock = ImGui::GetID("dock");
  if (fresh || ImGui::DockBuilderGetNode(dock) == nullptr) lay_out(ui, dock);
  // Dear ImGui draws what parts the panels in the colour of borders.
  ImGui::PushStyleColor(ImGuiCol_Border, ui.colour(ColourRole::window));
  ImGui::PushStyleColor(ImGuiCol_SeparatorHovered, ui.colour(ColourRole::line));
  ImGui::PushStyleColor(ImGuiCol_SeparatorActive, ui.colour(ColourRole::line));
  ImGui::DockSpace(dock, ImVec2(0, 0),
                   ImGuiDockNodeFlags{ImGuiDockNodeFlags_PassthruCentralNode} | ImGuiDockNodeFlags_NoTabBar);
  ImGui::PopStyleColor(3);
  ImGui::End();
  ImGui::PopStyleVar();
}

void docked_panel(Ui& ui, const char* name, double padding, bool still, const std::function<void()>& draw) {
  ImGuiWindowClass calm;
  calm.DockNodeFlagsOverrideSet = ImGuiDockNodeFlags{ImGuiDockNodeFlags_NoTabBar} | ImGuiDockNodeFlags_NoUndocking;
  ImGui::SetNextWindowClass(&calm);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(ui.px(padding), ui.px(padding)));
  ImGui::PushStyleColor(ImGuiCol_WindowBg, IM_COL32(0, 0, 0, 0));
  ImGuiWindowFlags flags = ImGuiWindowFlags_NoTitleBar | ImGuiWindowFlags_NoCollapse | ImGuiWindowFlags_NoMove;
  if (still) flags |= ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse;
  if (ImGui::Begin(name, nullptr, flags)) {
    panel_background(ui);
    draw();
  }
  ImGui::End();
  ImGui::PopStyleColor();
  ImGui::PopStyleVar();
}

void scale_docked_panels(double factor) {
  for (const char* name : {"Model", "KV", "Head"}) {
    const ImGuiWindow* window = ImGui::FindWindowByName(name);
    const ImGuiDockNode* node = window == nullptr ? nullptr : ImGui::DockBuilderGetNode(window->DockId);
    if (node == nullptr) continue;
    const ImVec2 size = node->SizeRef;
    const auto scaled = static_cast<float>(factor);
    ImGui::DockBuilderSetNodeSize(node->ID, ImVec2(size.x * scaled, size.y * scaled));
  }
}

}  // namespace headscope::gui
