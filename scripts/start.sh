#!/usr/bin/env bash
# What run.sh does once HeadScope is built: a command is passed on; a model is opened in the window, or, where there is
# no display, the window's first screen is drawn into a picture.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
headscope=$root/headscope

case "${1:-}" in
  info | run | kv | render | pack | unpack | import | bench | verify | gui) exec "$headscope" "$@" ;;
esac

model=()
if [ $# -eq 0 ] || [[ "$1" == -* ]]; then
  usual=$root/../shared/real-data/stories260K
  [ -e "$usual" ] && model=("$usual")
fi
if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
  exec "$headscope" gui "${model[@]}" "$@"
fi
picture=${HEADSCOPE_PICTURE:-headscope-window.png}
"$headscope" gui "${model[@]}" "$@" --headless --size 1600x1000 --shot "$picture"
echo "There is no display here, so the window's first screen was drawn into $picture"
