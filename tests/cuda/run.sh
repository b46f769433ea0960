#!/usr/bin/env bash
# Builds and tries the CUDA backend on a machine with a GPU; ./test.sh --cuda comes here. See run.py --help.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/cuda/env.sh
exec python3 tests/cuda/run.py "$@"
