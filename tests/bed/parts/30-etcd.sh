# shellcheck shell=bash
# etcd, a dependency of Kubernetes' own modules. What it is built with here is the whole of go/kubernetes.

part_etcd_install() {
  local version minor
  version=$(go_version_of kubernetes k8s.io/kubernetes)
  minor=${version#v*.}
  local at=k8s.io/component-base/version
  go_build kubernetes "-X $at.gitVersion=$version -X $at.gitMajor=1 -X $at.gitMinor=${minor%%.*}"
  # The module's main package is called "server".
  ln -sfn server "$(go_bin kubernetes)/etcd"
}

part_etcd_start() {
  # No fsync: the data does not outlive the instance.
  start_daemon etcd etcd --name bed --data-dir "$BED_DIR/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster bed=http://127.0.0.1:2380 --quota-backend-bytes 8589934592
}
