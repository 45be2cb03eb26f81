# Dear ImGui from its source as the static library headscope_imgui, set up by app/gui/paint/imgui_config.h.
# HEADSCOPE_IMGUI is the folder with imgui.cpp; scripts/setup.sh fetches the pinned one.
include_guard()

set(HEADSCOPE_IMGUI "${PROJECT_SOURCE_DIR}/.deps/imgui-1.93.0" CACHE PATH "Dear ImGui's source: the folder with imgui.cpp")
if(NOT EXISTS "${HEADSCOPE_IMGUI}/imgui.cpp")
  message(FATAL_ERROR "Dear ImGui is not in HEADSCOPE_IMGUI='${HEADSCOPE_IMGUI}': expected imgui.cpp there. Run "
                      "scripts/setup.sh, which fetches it, set HEADSCOPE_IMGUI to your own source, or build without "
                      "the window by -DHEADSCOPE_WITH_GUI=OFF.")
endif()

add_library(headscope_imgui STATIC
  ${HEADSCOPE_IMGUI}/imgui.cpp
  ${HEADSCOPE_IMGUI}/imgui_draw.cpp
  ${HEADSCOPE_IMGUI}/imgui_tables.cpp
  ${HEADSCOPE_IMGUI}/imgui_widgets.cpp
  ${HEADSCOPE_IMGUI}/imgui_stacklayout.cpp
  ${HEADSCOPE_IMGUI}/backends/imgui_impl_glfw.cpp
  ${HEADSCOPE_IMGUI}/backends/imgui_impl_opengl3.cpp
  ${HEADSCOPE_IMGUI}/misc/cpp/imgui_stdlib.cpp
  ${PROJECT_SOURCE_DIR}/app/gui/paint/imgui_misuse.cpp)
target_include_directories(headscope_imgui SYSTEM PUBLIC
  ${HEADSCOPE_IMGUI} ${HEADSCOPE_IMGUI}/backends ${HEADSCOPE_IMGUI}/misc/cpp)
target_include_directories(headscope_imgui PUBLIC ${PROJECT_SOURCE_DIR})
target_compile_definitions(headscope_imgui PUBLIC IMGUI_USER_CONFIG="app/gui/paint/imgui_config.h")
target_compile_options(headscope_imgui PRIVATE -w)
target_link_libraries(headscope_imgui PUBLIC glfw ${CMAKE_DL_LIBS})
