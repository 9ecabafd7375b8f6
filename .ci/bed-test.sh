#!/usr/bin/env bash
# usage: .ci/bed-test.sh [OPTION OF THE TESTS…]
# The tests that need a real Kubernetes, on three beds of their own side by side: one for what must not happen in ten
# minutes and then for what builds long, one for the tests that break what the others need, one for all others. The beds are
# taken down afterwards, however the tests end, and nothing of them may be left. A choice of tests runs on one bed.
set -euo pipefail
cd "$(dirname "$0")/.."

export TIER=b PROFILE=${PROFILE:-dev}
quick=${BED_NAME:-test} quiet=${BED_NAME:-test}-quiet broken=${BED_NAME:-test}-broken
cache=${XDG_CACHE_HOME:-$HOME/.cache}/slipway
if [[ -z ${SLIPWAY_BED_LOCKED:-} ]]; then
  # One run at a time on this machine. The lock is not handed on: a daemon that inherited it would keep it.
  mkdir -p "$cache"
  SLIPWAY_BED_LOCKED=1 exec flock --close "$cache/bed-test.lock" "$0" "$@"
fi

logs=$(mktemp -d)
jobs=() build=
# shellcheck disable=SC2317 # the trap calls it
finish() {
  # Tests that still run end with their bed. Silently: who reads this may have been interrupted, too.
  local bed
  [[ -z $build ]] || kill -- "-$build" 2>/dev/null || true
  for bed in "$quick" "$quiet" "$broken"; do BED_NAME=$bed tests/bed/bed down >/dev/null 2>&1 || true; done
  wait
  rm -rf "$logs"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

start() {
  BED_NAME=$1 tests/bed/bed up
  BED_NAME=$1 .ci/install.sh --set tagCheckInterval=10s --set plainHttpGit=true
}
# run BED OPTION…: the tests stay outside, and go in by `tests/bed/bed exec` for what they do.
run() {
  local bed=$1
  shift
  BED_NAME=$bed "$tests" --nocapture "$@"
}
# judge BED: what the audit log says of all that the tests of a bed did, and whether a value of a Secret is left anywhere.
judge() { run "$1" --ignored refused no_value_of_a_secret; }
# beside BED OPTION… [-- OPTION…]: the tests of a bed in the background, one run after the other, and then that.
beside() {
  in_turn "$@" >"$logs/$1" 2>&1 &
  jobs+=($!)
}
in_turn() {
  local bed=$1 option options=() failed=0
  shift
  for option in "$@" --; do
    if [[ $option == -- ]]; then
      run "$bed" "${options[@]}" || failed=1
      options=()
    else
      options+=("$option")
    fi
  done
  judge "$bed" || failed=1
  return "$failed"
}

# end BED…: take the beds down, see that nothing of them is left, and end with what came of all.
end() {
  local bed left=0
  for bed; do BED_NAME=$bed tests/bed/selftest down || left=1; done
  ((failed == 0)) || echo "tests failed" >&2
  ((left == 0)) || echo "something of a bed is left" >&2
  exit $((failed | left))
}

# What the beds need is built meanwhile: compilers leave processors idle. A mistake is heard of before the beds start. Run
# without cargo, which would wait for every other cargo.
BED_NAME=$quick setsid tests/bed/bed build >&2 & # a group of its own, which can be ended with its compilers
build=$!
tests=$(cargo test --locked --test cluster --no-run --message-format=json-render-diagnostics |
  sed -n 's/.*"executable":"\([^"]*\/cluster-[^"]*\)".*/\1/p')
wait "$build"
build=
failed=0
if (($#)); then
  start "$quick"
  run "$quick" "$@" || failed=1
  judge "$quick" || failed=1
  end "$quick"
fi
start "$quiet"
beside "$quiet" settled -- applications:: builds::alone:: --test-threads=1
BED_POD_PIDS=-1 start "$broken" # what a node without that bound is told of is seen there
beside "$broken" ::alone:: --skip builds:: --test-threads=1
start "$quick"
run "$quick" --skip settled --skip applications:: --skip ::alone:: --test-threads=6 || failed=1
judge "$quick" || failed=1
run "$quick" --ignored every_right || failed=1
BED_NAME=$quick tests/bed/selftest || failed=1
for job in "${jobs[@]}"; do wait "$job" || failed=1; done
cat "$logs"/*
end "$quick" "$quiet" "$broken"
