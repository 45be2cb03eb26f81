#!/usr/bin/env bash
# What run.sh does once HeadScope is built: a command is passed on; a model is summed up and its atlas drawn.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
headscope=$root/headscope

case "${1:-}" in
  info | run | kv | render | pack | unpack | verify | -*) exec "$headscope" "$@" ;;
esac

model=${1:-$root/../shared/real-data/stories260K}
[ $# -gt 0 ] && shift
if [ ! -e "$model" ]; then
  echo "There is no model at $model. Give a Hugging Face folder (config.json, *.safetensors, tokenizer.json)" \
    "or a HeadScope .h5 file: ./run.sh MODEL" >&2
  exit 2
fi
"$headscope" info "$model"
exec "$headscope" render "$model" --view atlas --summary --out "${HEADSCOPE_PICTURE:-headscope-atlas.png}" "$@"
