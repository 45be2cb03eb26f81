#!/usr/bin/env bash
# Builds what reads hostile files with address and undefined-behaviour sanitizers and runs its tests, then what threads
# share with the thread sanitizer. HEADSCOPE_FULL=1 takes everything that needs no LibTorch, views and window included.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros
source scripts/imgui.sh
jobs=${HEADSCOPE_JOBS:-2}

# check PRESET TEST...: builds these programs and runs their tests; what was not built is unknown to ctest by name.
check() {
  local preset=$1
  shift
  mkdir -p "build/$preset"
  cmake --preset "$preset" -DHEADSCOPE_WITH_GUI="$gui" -DHEADSCOPE_IMGUI="$imgui" >"build/$preset/configure.log" 2>&1 ||
    { cat "build/$preset/configure.log" >&2; exit 1; }
  ninja -C "build/$preset" -j"$jobs" "$@" >"build/$preset/build.log" 2>&1 ||
    { tail -n 60 "build/$preset/build.log" >&2; exit 1; }
  ctest --test-dir "build/$preset" --output-on-failure --output-junit tests.xml -j"$jobs" \
    -R "^($(IFS='|'; echo "$*"))\\." || status=$?
}

hostile=(test_base test_io test_tokenizer test_arch test_data test_kernels)
shared=(test_races test_data test_thread_pool)
gui=OFF
if [ "${HEADSCOPE_FULL:-0}" = 1 ]; then
  gui=ON
  hostile+=(test_views test_gui_paint test_gui_window)
fi

status=0
echo "Sanitizer build (address, undefined behaviour)"
check asan "${hostile[@]}"
gui=OFF
echo "Sanitizer build (threads)"
check tsan "${shared[@]}"
exit "$status"
