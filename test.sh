#!/usr/bin/env bash
# Sets up what is missing, builds, and runs all tests. Options are passed on to ctest: ./test.sh -L unit
#   ./test.sh                     everything, the sanitizer build included
#   ./test.sh --full              the same with the long forms: the kernels' product of all shapes (docs/design-notes.md),
#                                 the window's random input for 2 minutes, ..., views and window sanitized as well; the
#                                 variants of the CUDA library are compiled, too
#   HEADSCOPE_SANITIZERS=0 ...    without the sanitizer build
set -euo pipefail
root=$(cd "$(dirname "$0")" && pwd)
cd "$root"
if [ "${1:-}" = --full ]; then
  export HEADSCOPE_FULL=1
  shift
fi
scripts/setup.sh tests
jobs=${HEADSCOPE_JOBS:-$(nproc)}
status=0
if [ -n "${HEADSCOPE_FULL:-}" ] && ninja -C build/release -t query headscope_cuda_variants >/dev/null 2>&1; then
  ninja -C build/release -j"$jobs" headscope_cuda_variants >build/release/variants.log 2>&1 ||
    { status=$?; tail -n 60 build/release/variants.log >&2; }
fi
rm -f build/*/tests.xml
ctest --test-dir build/release --output-on-failure --output-junit tests.xml -j"$jobs" "$@" || status=$?
if [ "${HEADSCOPE_SANITIZERS:-1}" = 1 ] && [ $# -eq 0 ]; then
  scripts/test_sanitized.sh || status=$?
fi
python3 scripts/failed_tests.py build/*/tests.xml
exit "$status"
