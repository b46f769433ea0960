#!/usr/bin/env bash
# The long form of all fault tests: every n-th call that can fail, 500 power cuts, 1,000 random kills and every named
# point. Hours, not minutes; each script prints its counts and seed. BUILD (default build) is the build directory.
#
#   tests/faults/run_all.sh [BUILD] [PATTERN]       PATTERN chooses scripts: tests/faults/run_all.sh build test_kills
set -euo pipefail
cd "$(dirname "$0")/../.."
BAKA_BUILD=$(realpath "${1:-build}")
export BAKA_BUILD BAKA_FAULTS_LONG=1 BAKA_KILLS="${BAKA_KILLS:-1000}" PYTHONDONTWRITEBYTECODE=1
failed=()
for script in tests/faults/test_*.py; do
  name=$(basename "$script" .py)
  # shellcheck disable=SC2053 # the second argument is a pattern
  [[ $name == ${2:-*} ]] || continue
  echo "== $name"
  python3 "$script" || failed+=("$name")
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
