#!/usr/bin/env bash
# Runs a compiler's command line (nvcc, perhaps behind ccache), which names its output by -o, and keeps what ptxas tells
# of its kernels in OUTPUT.ptxas instead of showing it. All else, and everything where it fails, goes to standard error.
set -uo pipefail
output=
previous=
for word in "$@"; do
  [ "$previous" = -o ] && output=$word
  previous=$word
done
log=$output.ptxas
"$@" 2>"$log"
code=$?
if [ $code != 0 ]; then
  cat "$log" >&2
  rm -f "$log"
else
  grep -vE '^ptxas info |^    [0-9]+ bytes stack frame' "$log" >&2
fi
exit $code
