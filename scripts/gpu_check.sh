#!/bin/sh
# Checks and measures the CUDA kernels on a machine with a GPU, with binaries that were built on one without:
#   gpu_check.sh prepare [DIR] [--build BUILD]     packs what is needed, from the binaries of BUILD, into DIR
#   gpu_check.sh run BUNDLE OUT [--part 1|2|3|4]   on the machine with the GPU; OUT/gpu-check.json says what was found
# docs/cuda.md has more. The work is done by gpu_check.py beside this file.
set -eu
exec python3 -B "$(dirname "$0")/gpu_check.py" "$@"
