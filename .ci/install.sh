#!/usr/bin/env bash
# usage: [BED_NAME=…] .ci/install.sh [HELM OPTION…]
# Installs what is checked out here into the bed by Helm, or upgrades it, and waits until it runs. The bed must be up.
# More cpu is asked for than the chart does, since what a bed consists of, and a bed beside it, would leave it none.
set -euo pipefail
cd "$(dirname "$0")/.."

digest=$(.ci/image.sh)
.ci/helm.sh version >/dev/null
eval "$(tests/bed/bed env | grep -E '^BED_(PKI|DIR)=')"
tests/bed/bed exec helm upgrade slipway charts/slipway --install --namespace slipway-system --create-namespace \
  --take-ownership --wait --timeout 3m \
  --set image.repository=registry.bed.test:5000/slipway/slipway --set image.digest="$digest" \
  --set 'networkPolicy.egressPorts={443,6443,22,5000,5001}' \
  --set resources.requests.cpu=500m \
  --set builds.enabled=true --set builds.image=registry.bed.test:5000/bed/buildkit:1 \
  --set-json 'builds.repositories={"*": ["registry.bed.test:5000/", "registry.bed.test:5001/"]}' \
  --set builds.pushSecret=push --set builds.secret=base-images --set builds.disk=4Gi \
  --set builds.resources.requests.cpu=50m --set builds.resources.limits.memory=2Gi \
  --set 'builds.networkPolicy.egressPorts={443,22,5000,5001}' \
  --set-file caBundle="$BED_PKI/ca.crt" --set log.format=text "$@" >&2

# secret NAME USER: what builds push with, and what a builder reads and keeps layers with, as the user of Slipway would make it.
secret() {
  tests/bed/bed exec kubectl -n slipway-builds get secret "$1" >/dev/null 2>&1 ||
    tests/bed/bed exec kubectl -n slipway-builds create secret generic "$1" --type=kubernetes.io/dockerconfigjson \
      --from-file=.dockerconfigjson="$BED_DIR/secrets/$2.dockerconfigjson" >&2
}
secret push pusher
secret base-images builder
