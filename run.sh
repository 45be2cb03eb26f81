#!/usr/bin/env bash
# Sets up what is missing, builds, and opens the window (without a display: draws its first screen into a PNG):
#   ./run.sh               the model in ../shared/real-data, if it is there
#   ./run.sh MODEL [...]   a Hugging Face folder or .h5 file, with any options of `headscope gui`
#   ./run.sh COMMAND ...   any HeadScope command: info, run, kv, render, pack, unpack, import, bench, verify, gui
set -euo pipefail
here=$(pwd)
root=$(cd "$(dirname "$0")" && pwd)
"$root/scripts/setup.sh" program
cd "$here"
exec "$root/scripts/start.sh" "$@"
