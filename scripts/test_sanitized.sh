#!/usr/bin/env bash
# Builds everything that needs no LibTorch with address and undefined-behaviour sanitizers and runs its tests, then what
# threads share with the thread sanitizer.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros
jobs=${HEADSCOPE_JOBS:-2}

# build PRESET [target...]: all targets when none is named
build() {
  local preset=$1
  shift
  mkdir -p "build/$preset"
  cmake --preset "$preset" >"build/$preset/configure.log" 2>&1 || { cat "build/$preset/configure.log" >&2; exit 1; }
  ninja -C "build/$preset" -j"$jobs" "$@" >"build/$preset/build.log" 2>&1 ||
    { tail -n 60 "build/$preset/build.log" >&2; exit 1; }
}

status=0
echo "Sanitizer build (address, undefined behaviour)"
build asan
ctest --test-dir build/asan --output-on-failure -j"$jobs" || status=$?

echo "Sanitizer build (threads)"
shared=(test_races test_data test_thread_pool)
build tsan "${shared[@]}"
# What was not built is unknown to ctest by name, so the programs' own tests are picked.
ctest --test-dir build/tsan --output-on-failure -j"$jobs" -R "^($(IFS='|'; echo "${shared[*]}"))\\." || status=$?
exit "$status"
