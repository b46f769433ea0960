#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests; the last line is "N passed, N failed, N skipped".
#
#   ./test.sh            everything: plain build, ASan+UBSan build, TSan build of the threaded parts, faults, fuzzing
#   ./test.sh --quick    the plain build's tests only
#   ./test.sh --cuda [build|ops|train|hf|sanitize|bench]
#                        the CUDA backend, on a machine with a GPU; installs nothing (tests/cuda/run.py --help)
#
# BAKA_CUDA=enabled fails where the CUDA backend cannot be compiled; without it nvcc is used where it is found.
# BAKA_FUZZ_SECONDS (default 10) is the time for each fuzz target, BAKA_KILLS (default 24) the number of random kills,
# BAKA_CUTS (default 12) that of power cuts; the faults' long form is tests/faults/run_all.sh.
set -euo pipefail
cd "$(dirname "$0")"

quick=false
case "${1:-}" in
  "") ;;
  --quick) quick=true ;;
  --cuda) shift; exec tests/cuda/run.sh "$@" ;;
  -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "test.sh: unknown option '$1'; --quick, --cuda or nothing" >&2; exit 2 ;;
esac

if $quick; then .ci/setup.sh build test; else .ci/setup.sh build test fuzz; fi

results=build/test-results.json
failed=0

configure_and_build() { # DIR OPTION...
  local dir=$1
  shift
  if [ ! -f "$dir/build.ninja" ]; then meson setup "$dir" "$@" >"$dir.log" 2>&1 || { cat "$dir.log"; exit 1; }; fi
  ninja -C "$dir" >"$dir.log" 2>&1 || { tail -n 60 "$dir.log"; exit 1; }
  rm -f "$dir.log"
}

run() { tests/run.py --results "$results" "$@" || failed=1; }

echo "building (warnings are errors)"
configure_and_build build -Dwerror=true -Dcuda="${BAKA_CUDA:-auto}"
rm -f "$results"
run --build build --suites unit,kernels,system,faults

if ! $quick; then
  echo "building with the address and undefined-behaviour sanitizers"
  configure_and_build build-asan -Dwerror=true -Dcuda=disabled -Db_sanitize=address,undefined -Db_lundef=false
  # The leak checker's tracer itself crashes now and then among libgomp's sleeping threads: it looks at what has none.
  asan=abort_on_error=1:strict_string_checks=1
  export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
  ASAN_OPTIONS=$asan:detect_leaks=1 run --build build-asan --suites unit --only '[!kw]*' --label asan+ubsan
  ASAN_OPTIONS=$asan:detect_leaks=0 run --build build-asan --suites unit --only '[kw]*' --label asan+ubsan
  ASAN_OPTIONS=$asan:detect_leaks=0 run --build build-asan --suites system --label asan+ubsan
  unset UBSAN_OPTIONS

  echo "building bakad with the thread sanitizer; its workers are the plain build's, libgomp is not instrumented"
  configure_and_build build-tsan -Dwerror=true -Dcuda=disabled -Db_sanitize=thread -Db_lundef=false
  export TSAN_OPTIONS=halt_on_error=1:exitcode=66 BAKA_WORKER=$PWD/build/worker/baka-worker
  run --build build-tsan --suites unit --only 'daemon-store*' --label tsan
  BAKA_KILLS=6 run --build build-tsan --suites faults --only test_kills --label tsan
  unset TSAN_OPTIONS BAKA_WORKER

  echo "fuzzing each input door for ${BAKA_FUZZ_SECONDS:-10} s"
  code=0
  tests/fuzz/run.sh "${BAKA_FUZZ_SECONDS:-10}" || code=$?
  case $code in
    0) run --add fuzz 1 0 0 ;;
    77) run --add fuzz 0 0 1 ;;
    *) run --add fuzz 0 1 0 ;;
  esac
fi

tests/run.py --close --results "$results" || failed=1
exit $failed
