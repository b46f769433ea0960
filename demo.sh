#!/usr/bin/env bash
# Installs what is missing, builds, and runs a real sweep from submit to compare: gelu, swiglu and elephant feed-forward
# layers of equal size, three epochs each on real English text, two runs at a time.
#
#   ./demo.sh              the King James text of Debian's bible-kjv
#   ./demo.sh TEXT         your own text, at least 50 kB of it
set -euo pipefail
cd "$(dirname "$0")"

case "${1:-}" in
  -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
  -*) echo "demo.sh: unknown option '$1'; see ./demo.sh --help" >&2; exit 2 ;;
esac
text=${1:-}
if [ -n "$text" ] && [ ! -r "$text" ]; then echo "demo.sh: $text: cannot be read" >&2; exit 1; fi

bytes=$((128 * 8 * 300)) # 300 steps of 8 windows of 128 bytes an epoch
out=demo-out
home=$PWD/$out/home

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
[ -t 1 ] || step() { printf '\n== %s\n' "$*"; }

if [ -n "$text" ]; then .ci/setup.sh build test; else .ci/setup.sh build test demo; fi

step "Building"
log=$(mktemp)
{ [ -f build/build.ninja ] || meson setup build -Dwerror=true; } >"$log" 2>&1 && ninja -C build >>"$log" 2>&1 ||
  { tail -n 40 "$log"; rm "$log"; exit 1; }
tail -n 1 "$log"
rm "$log"

bakactl() { build/cli/bakactl --home "$home" "$@"; }
stop() { if [ -n "${daemon:-}" ]; then kill "$daemon" 2>/dev/null && wait "$daemon" || true; fi; }
trap stop EXIT

# A demo that was interrupted may have left workers behind; they end by themselves, their directory is put aside.
if [ -d "$out" ]; then
  for lock in "$home"/runs/*/attempts/*/lock; do
    [ -f "$lock" ] && [ ! -f "${lock%lock}exit.json" ] && read -r pid _ <"$lock" &&
      grep -qs baka-worker "/proc/$pid/cmdline" && kill "$pid" 2>/dev/null || true
  done
  rm -rf "$out"
fi
mkdir -p "$out"
chmod 700 "$out"

step "Text"
if [ -n "$text" ]; then
  head -c $((bytes * 100 / 95)) "$text" >"$out/text.txt"
else
  # Each line begins with its verse's name, which is not English.
  bible -f 'gen1:1-rev22:21' | sed 's/^[^ ]* //' >"$out/bible.txt"
  head -c $((bytes * 100 / 95)) "$out/bible.txt" >"$out/text.txt"
  rm "$out/bible.txt"
fi
head -c 180 "$out/text.txt"; echo " ..."
bakactl data prepare --tokenizer bytes "$out/text.txt" -o demo --val-fraction 0.05

step "Starting bakad (two runs at a time)"
build/daemon/bakad --home "$home" --cpu-slots 2 2>"$out/bakad.log" &
daemon=$!
for _ in $(seq 100); do bakactl status >/dev/null 2>&1 && break; sleep 0.05; done
bakactl status

step "Queueing three runs: bakactl submit configs/demo.json --sweep model.ffn.type=gelu,swiglu,elephant_glu"
bakactl submit configs/demo.json --sweep model.ffn.type=gelu,swiglu,elephant_glu --tag demo --wait

step "Who won: bakactl compare demo --svg $out/compare.svg"
bakactl compare demo --svg "$out/compare.svg"

printf '\nThe picture: %s\nAll of it again, later:\n  build/daemon/bakad --home %s &\n  build/cli/bakactl --home %s compare demo\n' \
  "$PWD/$out/compare.svg" "$home" "$home"
