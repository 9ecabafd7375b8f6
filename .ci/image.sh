#!/usr/bin/env bash
# usage: [BED_NAME=…] [PROFILE=release|dev] .ci/image.sh
# Builds the binary here, puts it into an image on the bed's own base, and pushes that into the bed's registry as
# registry.bed.test:5000/slipway/slipway:dev. Prints the digest. The bed must be up.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${PROFILE:-release}
folder=$profile
[[ $profile != dev ]] || folder=debug
image=registry.bed.test:5000/slipway/slipway:dev
images=${XDG_CACHE_HOME:-$HOME/.cache}/slipway/bed/images
buildah() {
  local command=$1
  shift
  # The bed's own store: its base lies there, and nothing of the machine's images is seen or changed.
  command buildah --root "$images/storage" --runroot "$images/run" "$command" "$@"
}

if [[ $profile == dev ]]; then
  # With the tests on the bed: alone it has another choice of features, for which most of the tree is compiled once more.
  cargo test --locked --test cluster --no-run >&2
else
  cargo build --locked --bin slipway --profile "$profile" >&2
fi
binary=${CARGO_TARGET_DIR:-target}/$folder/slipway
# The smallest runtime that Dockerfile allows has these and no others.
dynamic=$(readelf -d "$binary")
needed=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p' <<<"$dynamic" |
  grep -vE '^(lib(c|m|gcc_s|dl|pthread|rt)|ld-linux-[a-z0-9_-]+)\.so\.[0-9]+$' || true)
if [[ -n $needed ]]; then
  echo "$binary needs libraries that the image does not have: ${needed//$'\n'/, }; link them statically" >&2
  exit 1
fi
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir "$context/dist"
# A symbol table is of no use in an image; release builds have none anyway.
cp "$binary" "$context/dist/slipway"
[[ $profile == release ]] || strip --strip-debug "$context/dist/slipway"
build() {
  buildah bud --quiet --isolation chroot --layers=false --pull-never --file Dockerfile --tag "$image" \
    --build-arg BINARY_STAGE=prebuilt --build-arg RUNTIME_IMAGE=registry.bed.test:5000/bed/runtime:1 \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" "$context" &&
    buildah push --quiet "$image" "oci:$context/image:dev" && { buildah rmi --prune || true; }
}
# Two beds share the store.
if ! (flock 8 && build) 8>"$images/.lock" >"$context/log" 2>&1; then
  cat "$context/log" >&2
  exit 1
fi
tests/bed/image-push "oci:$context/image:dev" "$image"
