# Which Dear ImGui is built and where its source lies; sourced by setup.sh and test_sanitized.sh, which set `root`.
# shellcheck shell=bash disable=SC2034,SC2154
imgui_version=1.93.0
imgui_sum=10ad1dab8258a6787b4f07bb926b08d0efc648a7906242568c8dd778c5e719bf
imgui=$(realpath -m -- "${HEADSCOPE_IMGUI_DIR:-${HEADSCOPE_DEPS:-$root/.deps}/imgui-$imgui_version}")
