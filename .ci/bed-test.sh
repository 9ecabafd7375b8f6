#!/usr/bin/env bash
# usage: .ci/bed-test.sh [OPTION OF THE TESTS…]
# The tests that need a real Kubernetes, on two beds of their own that are taken down afterwards, however they end: one
# for what happens quickly, one for what must not happen in ten minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

export TIER=b PROFILE=${PROFILE:-dev}
quick=${BED_NAME:-test} quiet=${BED_NAME:-test}-quiet
cache=${XDG_CACHE_HOME:-$HOME/.cache}/slipway
if [[ -z ${SLIPWAY_BED_LOCKED:-} ]]; then
  # One run at a time on this machine. The lock is not handed on: a daemon that inherited it would keep it.
  mkdir -p "$cache"
  SLIPWAY_BED_LOCKED=1 exec flock --close "$cache/bed-test.lock" "$0" "$@"
fi

log=$(mktemp)
waiting=
# shellcheck disable=SC2317 # the trap calls it
finish() {
  # The tests of the other bed, if they still run, end with it.
  BED_NAME=$quick tests/bed/bed down || true
  BED_NAME=$quiet tests/bed/bed down || true
  [[ -z $waiting ]] || wait "$waiting" || true
  rm -f "$log"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# The tests stay outside, and go in by `tests/bed/bed exec` for each thing they ask.
run() {
  cargo test --locked --test cluster -- --nocapture --test-threads="${BED_TEST_THREADS:-4}" "$@"
}
start() {
  tests/bed/bed up
  .ci/install.sh --set tagCheckInterval=10s --set plainHttpGit=true
}
# What the audit log says of all that the tests on a bed did.
rights() {
  run --ignored "$@"
}

# Compiled first: a mistake is heard of before the beds start.
cargo test --locked --test cluster --no-run
(($#)) || BED_NAME=$quick tests/bed/selftest
BED_NAME=$quiet start
(BED_NAME=$quiet run settled "$@" && BED_NAME=$quiet rights refused) >"$log" 2>&1 &
waiting=$!
BED_NAME=$quick start
failed=0
BED_NAME=$quick run --skip settled "$@" || failed=1
BED_NAME=$quick rights refused || failed=1
# A choice of tests need not use every right.
(($#)) || BED_NAME=$quick rights every_right || failed=1
wait "$waiting" || failed=1
waiting=
cat "$log"
exit "$failed"
