#!/usr/bin/env bash
# Makes a clone ready: system packages (Debian and Ubuntu: installed; elsewhere: named), npm packages, the native addon and dist/.
# Does only what is missing or out of date, and says nothing where there is nothing to do. Needs no terminal.
# With --browser also a Chromium for the test of examples/browser (Debian and Ubuntu), which is skipped where there is none.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
exec </dev/null

check_node() {
  have node && have npm || fail 'Node.js 20.19 or later with npm is needed: install it from nodejs.org, with nvm (nvm install 22), or your system packages'
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    fail "Node.js 20.19 or later is needed; this is $(node --version). Install a later one from nodejs.org or with nvm (nvm install 22)"
}

# True where the C++ compiler finds the header.
header() {
  local brew_flags=()
  if have brew; then brew_flags=("-I$(brew --prefix)/include"); fi
  echo "#include <$1>" | c++ -std=c++17 "${brew_flags[@]+"${brew_flags[@]}"}" -E -x c++ - >/dev/null 2>&1
}

# Names (Debian's) of what is missing.
missing_packages() {
  have cmake || echo cmake
  have ninja || have make || echo make
  if ! have c++; then
    echo 'g++ libdnnl-dev libhwy-dev nlohmann-json3-dev'
    [ "$(uname -m)" != x86_64 ] || echo libxbyak-dev
    return
  fi
  header dnnl.h || header oneapi/dnnl/dnnl.h || echo libdnnl-dev
  header hwy/highway.h || echo libhwy-dev
  header nlohmann/json.hpp || echo nlohmann-json3-dev
  [ "$(uname -m)" != x86_64 ] || header xbyak/xbyak.h || echo libxbyak-dev
}

apt_install() {
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    have sudo || fail "run this as root (there is no sudo): apt-get install -y $*"
    if [ -t 2 ] && [ "${CI:-}" != true ]; then as_root=(sudo); else as_root=(sudo -n); fi
  fi
  local install=("${as_root[@]+"${as_root[@]}"}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@")
  say "installing $*"
  # The package lists of a bare machine may be empty: they are fetched only if a package is not found.
  "${install[@]}" >/dev/null 2>&1 && return
  "${as_root[@]+"${as_root[@]}"}" apt-get update -qq >/dev/null || fail 'apt-get update failed'
  "${install[@]}" >/dev/null || fail "apt-get could not install: $*"
}

check_packages() {
  local missing
  missing=$(missing_packages | tr '\n' ' ')
  [ -n "${missing// /}" ] || return 0
  if have apt-get; then
    # shellcheck disable=SC2086
    apt_install $missing
    missing=$(missing_packages | tr '\n' ' ')
    [ -z "${missing// /}" ] || fail "still missing after the installation: $missing"
    return
  fi
  say "The native build needs a C++17 compiler, CMake, oneDNN, Highway and nlohmann-json; missing here (by Debian's names): $missing"
  if have brew; then say 'macOS:  brew install cmake libomp onednn highway nlohmann-json'
  elif have pacman; then say 'Arch:   pacman -S --needed cmake gcc make onednn highway nlohmann-json'
  elif have dnf; then say 'Fedora: dnf install cmake gcc-c++ make onednn-devel highway-devel json-devel'
  fi
  fail 'install these and run scripts/setup.sh again'
}

# Runs a command quietly; its output is shown only where it fails.
step() {
  local what=$1 log
  shift
  say "$what"
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    fail "$what: failed (the command was: $*)"
  fi
  rm -f "$log"
}

# The browser is for one test, so that it cannot be had is said, but stops nothing.
check_browser() {
  ! have chromium && ! have chromium-browser && ! have google-chrome || return 0
  if have apt-get && (apt_install chromium); then return; fi
  say 'no Chromium here: the test of the page in examples/browser will be skipped; install chromium to run it'
}

check_node
check_packages
[ "${1:-}" != --browser ] || check_browser
# No package here needs its install script; onnxruntime-node's would fetch a CUDA provider.
if stale node_modules/.package-lock.json package-lock.json; then
  step 'installing npm packages' npm ci --ignore-scripts
  touch node_modules/.package-lock.json
fi
if [ ! -e build/Release/langevin.node ] || stale build/native.stamp native CMakeLists.txt; then
  step 'building the native addon (some minutes the first time)' npm run build:native
  touch build/native.stamp
fi
if [ ! -e dist/bundle/index.js ] || stale build/dist.stamp lib package.json tsconfig.json tsconfig.build.json scripts/bundle.mjs scripts/licences; then
  step 'compiling and bundling TypeScript' npm run build:ts
  touch build/dist.stamp
fi
