#!/usr/bin/env bash
# usage: [BED_NAME=…] .ci/install.sh [HELM OPTION…]
# Installs what is checked out here into the bed by Helm, or upgrades it, and waits until it runs. The bed must be up.
# More cpu is asked for than the chart does, since what a bed consists of, and a bed beside it, would leave it none.
set -euo pipefail
cd "$(dirname "$0")/.."

digest=$(.ci/image.sh)
.ci/helm.sh version >/dev/null
eval "$(tests/bed/bed env | grep '^BED_PKI=')"
tests/bed/bed exec helm upgrade slipway charts/slipway --install --namespace slipway-system --create-namespace \
  --take-ownership --wait --timeout 3m \
  --set image.repository=registry.bed.test:5000/slipway/slipway --set image.digest="$digest" \
  --set 'networkPolicy.egressPorts={443,6443,22,5000,5001}' \
  --set resources.requests.cpu=500m \
  --set builds.enabled=true --set builds.image=registry.bed.test:5000/bed/buildkit:1 \
  --set-json 'builds.repositories={"*": ["registry.bed.test:5000/", "registry.bed.test:5001/"]}' \
  --set builds.resources.requests.cpu=50m --set builds.resources.limits.memory=2Gi \
  --set 'builds.networkPolicy.egressPorts={443,22,5000,5001}' \
  --set-file caBundle="$BED_PKI/ca.crt" --set log.format=text "$@" >&2
