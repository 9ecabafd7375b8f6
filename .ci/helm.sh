#!/usr/bin/env bash
# usage: .ci/helm.sh ARGUMENT…
# Helm: the machine's own, else the bed's, which is built first where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v helm >/dev/null; then
  eval "$(tests/bed/bed env | grep '^PATH=')"
  command -v helm >/dev/null || tests/bed/bed build
fi
exec helm "$@"
