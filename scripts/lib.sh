# What the scripts beside this file share: messages, and whether a file is older than what it is made of. Sourced, not run.

say() { printf '%s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# stale TARGET SOURCE...: true where TARGET is missing or a file under the SOURCEs is newer.
stale() {
  local target=$1
  shift
  [ ! -e "$target" ] || [ -n "$(find "$@" -type f -newer "$target" -print -quit)" ]
}

# Node's name of this machine, as in prebuilds/: linux-x64, darwin-arm64, ...
platform() { node -p '`${process.platform}-${process.arch}`'; }
