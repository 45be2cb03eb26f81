#!/usr/bin/env bash
# Builds everything that needs no LibTorch with address and undefined-behaviour sanitizers and runs its tests.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/imgui.sh"
cd "$root"
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros
jobs=${HEADSCOPE_JOBS:-2}
echo "Sanitizer build (address, undefined behaviour)"
mkdir -p build/asan
cmake --preset asan -DHEADSCOPE_IMGUI="$imgui" >build/asan/configure.log 2>&1 || { cat build/asan/configure.log >&2; exit 1; }
ninja -C build/asan -j"$jobs" >build/asan/build.log 2>&1 || { tail -n 60 build/asan/build.log >&2; exit 1; }
exec ctest --test-dir build/asan --output-on-failure -j"$jobs"
