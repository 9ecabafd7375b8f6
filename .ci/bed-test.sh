#!/usr/bin/env bash
# usage: .ci/bed-test.sh [OPTION OF THE TESTS…]
# The tests that need a real Kubernetes, on a bed of their own that is taken down afterwards, however they end.
set -euo pipefail
cd "$(dirname "$0")/.."

export BED_NAME=${BED_NAME:-test} SLIPWAY_BED=1
if [[ -z ${SLIPWAY_BED_LOCKED:-} ]]; then
  # One run at a time on this machine. The lock is not handed on: a daemon that inherited it would keep it.
  mkdir -p "${XDG_CACHE_HOME:-$HOME/.cache}/slipway"
  SLIPWAY_BED_LOCKED=1 exec flock --close "${XDG_CACHE_HOME:-$HOME/.cache}/slipway/bed-test.lock" "$0" "$@"
fi

trap 'tests/bed/bed down' EXIT
trap 'exit 130' INT TERM HUP
# Compiled out here: inside there is no network.
cargo test --locked --test bed --no-run
tests/bed/bed up
SLIPWAY_IMAGE=registry.bed.test:5000/slipway/slipway@$(.ci/image.sh)
export SLIPWAY_IMAGE
tests/bed/bed exec cargo test --locked --offline --test bed -- --nocapture --test-threads="${BED_TEST_THREADS:-4}" "$@"
