#!/usr/bin/env bash
# Puts the addon of build/Release into prebuilds/<platform>-<arch>, stripped, with the shared libraries that a bare machine lacks beside
# it and their licences: what `npm pack` ships. The addon looks for libraries in its own folder first ($ORIGIN). Linux only.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
[ "$(uname -s)" = Linux ] || fail 'prebuild.sh bundles libraries on Linux only; on other systems the package is built on the spot'
[ -e build/Release/langevin.node ] || fail 'there is no build/Release/langevin.node: run npm run build:native first'

# What every system that runs Node has; all other libraries are bundled.
system='^(linux-vdso|linux-gate|ld-linux.*|libc|libm|libdl|libpthread|librt|libstdc\+\+|libgcc_s)\.so'
target=prebuilds/$(platform)
rm -rf "$target"
mkdir -p "$target/licences"
cp build/Release/langevin.node "$target/"
strip --strip-unneeded "$target/langevin.node"
# The CUDA plugin needs nothing beside it: what it uses of NVIDIA's it looks for when it is loaded. Without code for a GPU (HOST) it is of no use.
if [ -e build/Release/langevin_cuda.so ] && ! grep -q 'built without nvcc' build/Release/langevin_cuda.so; then
  cp build/Release/langevin_cuda.so "$target/"
  strip --strip-unneeded "$target/langevin_cuda.so"
fi

licence_of() { # LIBRARY FILE: the Debian copyright file of the package that owns it
  local package
  package=$(dpkg -S "$(readlink -f "$2")" 2>/dev/null | head -n 1 | cut -d: -f1) || true
  [ -n "$package" ] && [ -e "/usr/share/doc/$package/copyright" ] ||
    fail "the licence of $2 was not found (looked for a Debian package that owns it); it must go along with the library"
  cp -L "/usr/share/doc/$package/copyright" "$target/licences/$1.txt"
}

bundled=()
while read -r name _ path _; do
  [[ $name =~ $system ]] && continue
  [ -e "$path" ] || fail "the library $name of the addon was not found"
  cp -L "$path" "$target/$name"
  chmod 644 "$target/$name"
  licence_of "${name%%.so*}" "$path"
  bundled+=("$name")
done < <(ldd build/Release/langevin.node | grep '=>')

# Compiled into the addon: header-only libraries.
cp -L /usr/share/doc/nlohmann-json3-dev/copyright "$target/licences/nlohmann-json.txt" || fail 'the licence of nlohmann-json was not found'
[ ! -e /usr/share/doc/libxbyak-dev/copyright ] || cp -L /usr/share/doc/libxbyak-dev/copyright "$target/licences/xbyak.txt"
cp node_modules/node-addon-api/LICENSE.md "$target/licences/node-addon-api.txt"
cp node_modules/node-api-headers/LICENSE "$target/licences/node-api-headers.txt"
cp -L /usr/share/common-licenses/Apache-2.0 "$target/licences/Apache-2.0.txt" # oneDNN, Highway
[ ! -e "$target/libgomp.so.1" ] || cp -L /usr/share/common-licenses/GPL-3 "$target/licences/GPL-3.txt"

# Nothing may resolve outside this folder but the system's own libraries; libdnnl's dependencies too.
outside=$(ldd "$target/langevin.node" | grep '=>' | awk '{print $1, $3}' | grep -Ev "$system" | grep -v " $PWD/$target/" || true)
[ -z "$outside" ] || fail "these libraries of $target/langevin.node would come from elsewhere: $outside"
floor=$(cat "$target"/*.so.* "$target/langevin.node" | strings | grep -oE 'GLIBC_2\.[0-9]+' | sort -Vu | tail -n 1)
say "$target: langevin.node, ${bundled[*]} ($(du -sh "$target" | cut -f1); needs ${floor/_/ } or later)"
