#!/usr/bin/env bash
# Installs the Debian packages named by its arguments' groups when they are missing: build, demo, test, fuzz.
# Root installs directly, others through sudo; without either the command to type is printed.
set -euo pipefail

build="gcc libc6-dev meson ninja-build pkg-config python3 libuv1-dev libsqlite3-dev libcjson-dev libmicrohttpd-dev
  libcurl4-openssl-dev libzip-dev libssl-dev libdnnl-dev libpcre2-dev libutf8proc-dev"
demo="bible-kjv"
test="libcmocka-dev"
fuzz="clang libclang-rt-14-dev"

wanted=()
for group in "$@"; do
  case "$group" in
    build | demo | test | fuzz) read -r -d '' -a more <<<"${!group}" || true; wanted+=("${more[@]}") ;;
    *) echo "setup.sh: unknown group '$group': build, demo, test, fuzz" >&2; exit 2 ;;
  esac
done

missing=()
for package in "${wanted[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}")
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null; then
    as_root=(sudo)
  else
    printf 'These packages are missing; as root, type:\n  apt-get update && apt-get install --no-install-recommends %s\n' \
      "${missing[*]}" >&2
    exit 1
  fi
fi
echo "installing: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" "${install[@]}"; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "setup.sh: apt-get could not install the packages" >&2
  exit 1
fi
