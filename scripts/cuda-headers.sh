#!/usr/bin/env bash
# Fetches NVIDIA's headers that the CUDA plugin is compiled with (cuda.h, nvrtc.h, cublasLt.h, cudnn.h and what they include) out of pip's wheels
# into third_party/cuda/include, which git ignores. The wheels are large (1.1 GB in all), so they are fetched one after another and only the
# headers are kept. Does nothing where they are there already. No library is needed to build.
# With --libraries DIR also NVRTC's library into DIR (90 MB), which compiles fused loops on machines without a GPU too: for checks.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

# A wheel a line. All are of CUDA 13, which the drivers must be for.
wheels=(
  nvidia-cuda-runtime==13.0.96
  nvidia-cuda-crt==13.0.88
  nvidia-cuda-cccl==13.0.85
  nvidia-cuda-nvrtc==13.0.88
  nvidia-cublas==13.1.1.3
  nvidia-cudnn-cu13==9.24.0.43
)
target=third_party/cuda/include
libraries=

while [ $# -gt 0 ]; do
  case $1 in
    --libraries) [ -n "${2:-}" ] || fail '--libraries needs a folder'; libraries=$2; shift 2 ;;
    *) fail "unknown option $1; there is --libraries DIR" ;;
  esac
done

find_pip() {
  local candidate
  for candidate in python3 python; do
    if have "$candidate" && "$candidate" -m pip --version >/dev/null 2>&1; then python=$candidate; return; fi
  done
  fail "pip for Python 3 is needed to fetch NVIDIA's headers: apt-get install python3-pip (Debian, Ubuntu), or install CUDA's toolkit, cuDNN and cuBLAS with their headers and name their folders in LANGEVIN_CUDA_INCLUDE"
}

# extract WHEEL headers|libraries FOLDER: what lies in an include folder of the wheel, without the folders above it; or its shared libraries.
extract() {
  "$python" - "$@" <<'PYTHON'
import os, sys, zipfile
wheel, what, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        parts = name.split('/')
        if name.endswith('/'):
            continue
        if what == 'headers' and 'include' in parts[:-1]:
            inner = parts[parts.index('include') + 1:]
            if inner[0] == 'cccl':  # a C++ library; the one header of it that cuda_fp16.h includes lies beside it, in nv
                continue
        elif what == 'libraries' and '.so' in parts[-1]:
            inner = parts[-1:]
        else:
            continue
        path = os.path.join(target, *inner)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as file:
            file.write(archive.read(name))
PYTHON
}

have_headers() { [ -e "$target/.wheels" ] && [ "$(cat "$target/.wheels")" = "${wheels[*]}" ]; }
have_libraries() { [ -z "$libraries" ] || compgen -G "$libraries/libnvrtc.so.*" >/dev/null; }

if have_headers && have_libraries; then exit 0; fi
find_pip
download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
headers=$download/include
for wheel in "${wheels[@]}"; do
  takes_library=
  if [[ $wheel == nvidia-cuda-nvrtc==* ]] && ! have_libraries; then takes_library=yes; fi
  if have_headers && [ -z "$takes_library" ]; then continue; fi
  say "fetching ${wheel/==/ }"
  "$python" -m pip download --quiet --retries 1 --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: --dest "$download/wheel" "$wheel" >&2 ||
    fail "pip could not fetch $wheel (its message stands above)"
  extract "$download"/wheel/*.whl headers "$headers"
  if [ -n "$takes_library" ]; then extract "$download"/wheel/*.whl libraries "$libraries"; fi
  rm -rf "$download/wheel"
done
if ! have_headers; then
  for header in cuda.h nvrtc.h cublasLt.h cudnn.h crt/host_defines.h nv/target; do
    [ -e "$headers/$header" ] || fail "the wheels hold no $header; please report this"
  done
  rm -rf "$target"
  mkdir -p "$(dirname "$target")"
  cp -r "$headers" "$target"
  printf '%s' "${wheels[*]}" >"$target/.wheels"
fi
say "NVIDIA's headers are in $target"
