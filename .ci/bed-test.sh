#!/usr/bin/env bash
# usage: .ci/bed-test.sh [OPTION OF THE TESTS…]
# The tests that need a real Kubernetes, on a bed of their own that is taken down afterwards, however they end.
set -euo pipefail
cd "$(dirname "$0")/.."

export BED_NAME=${BED_NAME:-test} TIER=b SLIPWAY_BED=1
if [[ -z ${SLIPWAY_BED_LOCKED:-} ]]; then
  # One run at a time on this machine. The lock is not handed on: a daemon that inherited it would keep it.
  mkdir -p "${XDG_CACHE_HOME:-$HOME/.cache}/slipway"
  SLIPWAY_BED_LOCKED=1 exec flock --close "${XDG_CACHE_HOME:-$HOME/.cache}/slipway/bed-test.lock" "$0" "$@"
fi

trap 'tests/bed/bed down' EXIT
trap 'exit 130' INT TERM HUP
# The tests stay outside, and go in by `tests/bed/bed exec` for each thing they ask. Compiled first: a mistake is heard of
# before the bed starts.
cargo test --locked --test cluster --no-run
tests/bed/bed up
.ci/install.sh
cargo test --locked --test cluster -- --nocapture --test-threads="${BED_TEST_THREADS:-4}" "$@"
