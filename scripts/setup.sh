#!/usr/bin/env bash
# Installs what is missing, builds HeadScope and leaves ./headscope at the root. Called by run.sh and test.sh.
#   scripts/setup.sh program   what the program needs
#   scripts/setup.sh tests     that, the tests and their Python packages (transformers brings its own torch)
# HEADSCOPE_TORCH=DIR uses your own LibTorch (the folder with include/ and lib/) instead of the pinned one.
# HEADSCOPE_CUDA=DIR uses your own CUDA toolkit (the folder with bin/nvcc); otherwise the CUDA library is built for the
#   tests, and for the program where there is an NVIDIA driver, with the system's nvcc or that of Python packages.
# HEADSCOPE_IMGUI_DIR=DIR uses your own Dear ImGui source.
# HEADSCOPE_DEPS=DIR keeps the downloaded parts there instead of in .deps/, so that clones can share them.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Folders that the user names count from where they stand.
for variable in HEADSCOPE_TORCH HEADSCOPE_DEPS HEADSCOPE_IMGUI_DIR HEADSCOPE_CUDA; do
  [ -n "${!variable:-}" ] && declare -x "$variable=$(realpath -m -- "${!variable}")"
done
cd "$root"
what=${1:-program}
deps=${HEADSCOPE_DEPS:-$root/.deps}
venv=$deps/venv
. scripts/imgui.sh
jobs=${HEADSCOPE_JOBS:-$(nproc)}
[ "$jobs" -gt 2 ] && [ "$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)" -lt $((jobs * 2)) ] && jobs=2

say() { printf '%s\n' "$*" >&2; }

# One line a stage that did something; silent when all is there.
wanted_packages() {
  sed -e 's/#.*//' -e '/^[[:space:]]*$/d' scripts/packages.txt |
    { if [ "$what" = tests ]; then sed 's/^test: *//'; else grep -v '^test:'; fi; }
}

missing_packages() {
  local package
  for package in $(wanted_packages); do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || printf '%s ' "$package"
  done
}

install_packages() {
  local missing sudo=
  command -v dpkg-query >/dev/null || { say "This is not a Debian-like system: install the packages in scripts/packages.txt yourself."; return; }
  missing=$(missing_packages)
  [ -z "$missing" ] && return
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      sudo="sudo env DEBIAN_FRONTEND=noninteractive"
    else
      say "HeadScope needs some packages. Run this line, then start again:"
      say "  sudo apt-get install --no-install-recommends -y $missing"
      exit 1
    fi
  fi
  say "Installing packages: $missing"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  $sudo apt-get install --no-install-recommends -y -qq $missing >/dev/null 2>&1 </dev/null ||
    { $sudo apt-get update -qq </dev/null && $sudo apt-get install --no-install-recommends -y -qq $missing >/dev/null </dev/null; }
}

# The virtual environment; one that was left half made is made again.
make_venv() {
  "$venv/bin/python" -m pip --version >/dev/null 2>&1 && return
  rm -rf "$venv"
  python3 -m venv "$venv"
}

# What is installed from a list of pinned packages is written down beside it, so that a change of the list or an
# interrupted installation is noticed.
stamp_of() { printf '%s/installed-%s-%s' "$venv" "$(basename "$1" .txt)" "$(cat scripts/requirements*.txt | sha256sum | cut -c1-16)"; }

install_python() {
  local list=$1 size=$2
  [ -e "$(stamp_of "$list")" ] && return
  make_venv || return
  say "Installing Python packages of $list ($size on disk)"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$list" || return
  touch "$(stamp_of "$list")"
}

# Dear ImGui's source, for the window: a folder of a pinned source archive. HEADSCOPE_IMGUI_DIR is your own checkout.
fetch_imgui() {
  local download
  if [ -n "${HEADSCOPE_IMGUI_DIR:-}" ] || [ -e "$imgui/imgui.cpp" ]; then return; fi
  make_venv
  say "Fetching Dear ImGui's source"
  download=$(mktemp -d)
  "$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary imgui-bundle \
    --dest "$download" "imgui-bundle==$imgui_version" >/dev/null
  echo "$imgui_sum  $download/imgui_bundle-$imgui_version.tar.gz" | sha256sum --check --quiet
  tar xzf "$download/imgui_bundle-$imgui_version.tar.gz" -C "$download" "imgui_bundle-$imgui_version/external/imgui/imgui"
  rm -rf "$imgui"
  mv "$download/imgui_bundle-$imgui_version/external/imgui/imgui" "$imgui"
  rm -rf "$download"
}

find_torch() {
  if [ -n "${HEADSCOPE_TORCH:-}" ]; then
    printf '%s' "$HEADSCOPE_TORCH"
    return
  fi
  local folder
  for folder in "$venv"/lib/python3*/site-packages/torch; do
    [ -d "$folder" ] && printf '%s' "$folder" && return
  done
}

# The first nvcc that CMake would find, if it is new enough (cmake/Cuda.cmake).
has_system_nvcc() {
  local nvcc version
  for nvcc in "${CUDA_HOME:-}/bin/nvcc" "${CUDA_PATH:-}/bin/nvcc" "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc; do
    [ -x "$nvcc" ] || continue
    version=$("$nvcc" --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\),.*/\1/p')
    [ "$(printf '12.8\n%s\n' "$version" | sort -V | head -n 1)" = 12.8 ]
    return
  done
  return 1
}

# What the CUDA library is built with: "off", "system", or a toolkit's folder. Never fails: the rest needs no CUDA.
find_cuda() {
  local toolkit
  if [ -n "${HEADSCOPE_CUDA:-}" ]; then
    printf '%s' "$HEADSCOPE_CUDA"
  elif [ "$what" != tests ] && [ ! -e build/release/with-tests ] && [ ! -e /dev/nvidiactl ] && [ ! -e /dev/dxg ]; then
    printf off
  elif has_system_nvcc; then
    printf system
  elif install_python scripts/requirements-cuda.txt '0.3 GB'; then
    for toolkit in "$venv"/lib/python3*/site-packages/nvidia/cu13; do
      ln -sfn lib "$toolkit/lib64" # where nvcc looks
      printf '%s' "$toolkit"
      return
    done
  else
    say "Without CUDA: there is no nvcc 12.8 or newer here, and none could be installed"
    printf off
  fi
}

configure() {
  local with_cuda=ON toolkit=$1
  shift
  if [ "$toolkit" = off ]; then with_cuda=OFF; fi
  if [ "$toolkit" = off ] || [ "$toolkit" = system ]; then toolkit=; fi
  rm -f build/release/CMakeFiles/*/CMakeCUDACompiler.cmake # perhaps of a toolkit that is gone
  cmake --preset release -U 'CMAKE_CUDA_*' -DHEADSCOPE_WITH_CUDA=$with_cuda -DHEADSCOPE_CUDA="$toolkit" "$@" >build/release/configure.log 2>&1
}

build() {
  local torch=$1 cuda=$2 tests=OFF target='headscope headscope-gui' python=
  export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros
  mkdir -p build/release
  if [ "$what" = tests ]; then
    touch build/release/with-tests
    target=all
  fi
  if [ -e build/release/with-tests ]; then
    tests=ON
    python=$venv/bin/python
  fi
  local key
  key="$torch|$imgui|$python|$tests|$cuda|$(sha256sum <CMakePresets.json)"
  if [ ! -e build/release/build.ninja ] || [ "$(cat build/release/configured 2>/dev/null)" != "$key" ]; then
    say "Configuring"
    set -- -DHEADSCOPE_TORCH="$torch" -DHEADSCOPE_IMGUI="$imgui" -DHEADSCOPE_PYTHON="$python" -DHEADSCOPE_TESTS=$tests
    if ! configure "$cuda" "$@"; then
      if [ "$cuda" = off ] || [ -n "${HEADSCOPE_CUDA:-}" ]; then
        cat build/release/configure.log >&2
        exit 1
      fi
      # Perhaps a compiler that nvcc does not know, or a LibTorch without CUDA: the rest builds all the same.
      cp build/release/configure.log build/release/configure-cuda.log
      configure off "$@" || { cat build/release/configure.log >&2; exit 1; }
      say "Without CUDA: it could not be set up; build/release/configure-cuda.log says why"
    fi
    printf '%s' "$key" >build/release/configured
  fi
  # shellcheck disable=SC2086
  if [[ "$(ninja -C build/release -n $target 2>/dev/null)" != *"no work to do"* ]]; then
    say "Building (the first time takes some minutes)"
    ninja -C build/release -j"$jobs" $target >build/release/build.log 2>&1 ||
      { tail -n 60 build/release/build.log >&2; exit 1; }
  fi
  ln -sfn build/release/app/cli/headscope headscope
}

install_packages
if [ "$what" = tests ]; then
  install_python scripts/requirements-test.txt '5 GB'
  touch "$(stamp_of scripts/requirements.txt)" # which that list includes
elif [ -z "${HEADSCOPE_TORCH:-}" ]; then
  install_python scripts/requirements.txt '5 GB'
fi
fetch_imgui
build "$(find_torch)" "$(find_cuda)"
