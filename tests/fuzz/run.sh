#!/bin/sh
# Fuzzes what reads text that baka did not write.
#
#   tests/fuzz/run.sh SECONDS [TARGET...]     all targets if none is named; each for SECONDS
#
# A target is a file tests/fuzz/fuzz_TARGET.c with LLVMFuzzerTestOneInput and, in its head comment, lines as
#     fuzz-sources: base/err.c base/json.c     what it is linked with, from the root of the tree; globs are fine
#     fuzz-libs: -lcjson -lm
#     fuzz-max-len: 4096                       optional: longest input tried (default 4096)
# Files in tests/fuzz/corpus/TARGET/ are the first inputs; files in corpus/TARGET.dict the words, if there is one.
# Built by clang with libFuzzer, ASan and UBSan in a temporary folder. Exit: 0 nothing found, 1 a finding (the input is
# kept in $FUZZ_ARTIFACTS, default: the current folder) or a target that does not build, 2 usage, 77 no clang.
set -u

usage() {
    echo "usage: $0 SECONDS [TARGET...]" >&2
    exit 2
}

[ $# -ge 1 ] || usage
seconds=$1
shift
case $seconds in
'' | *[!0-9]*) usage ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
artifacts=$(cd "${FUZZ_ARTIFACTS:-.}" && pwd) || exit 2
work=$(mktemp -d "${TMPDIR:-/tmp}/baka-fuzz-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

clang=${CLANG:-clang}
echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return d && n ? 0 : 0; }' >"$work/probe.c"
if ! "$clang" -fsanitize=fuzzer "$work/probe.c" -o "$work/probe" 2>/dev/null; then
    echo "skipped: no clang with libFuzzer"
    exit 77
fi

if [ $# -eq 0 ]; then
    for file in "$here"/fuzz_*.c; do
        name=${file##*/fuzz_}
        set -- "$@" "${name%.c}"
    done
fi

setting() { # KEY FILE: the rest of the lines that hold KEY:
    sed -n "s/.*$1:[[:space:]]*//p" "$2" | tr '\n' ' '
}

failed=0
for target in "$@"; do
    source=$here/fuzz_$target.c
    [ -f "$source" ] || { echo "no such target: $target" >&2; exit 2; }
    max_len=$(setting fuzz-max-len "$source" | tr -d " ")
    # shellcheck disable=SC2046 # word splitting and globs are meant here
    if ! (cd "$root" && "$clang" -std=gnu17 -g -O1 -D_GNU_SOURCE -I. \
        -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
        "$source" $(setting fuzz-sources "$source") $(setting fuzz-libs "$source") -o "$work/$target"); then
        echo "FAIL  $target: does not build"
        failed=1
        continue
    fi
    mkdir -p "$work/corpus-$target"
    seeds=
    [ -d "$here/corpus/$target" ] && seeds=$here/corpus/$target
    dict=
    [ -f "$here/corpus/$target.dict" ] && dict=-dict=$here/corpus/$target.dict
    if "$work/$target" -max_total_time="$seconds" -max_len="${max_len:-4096}" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 \
        -artifact_prefix="$artifacts/$target-" ${dict:+"$dict"} \
        "$work/corpus-$target" ${seeds:+"$seeds"} \
        >"$work/$target.log" 2>&1; then
        runs=$(sed -n 's/stat::number_of_executed_units: *//p' "$work/$target.log")
        echo "ok    $target: $runs inputs in $seconds s"
    else
        tail -n 60 "$work/$target.log"
        echo "FAIL  $target: a finding, see $artifacts/$target-*"
        failed=1
    fi
done
exit $failed
