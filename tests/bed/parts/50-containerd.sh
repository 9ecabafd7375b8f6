# shellcheck shell=bash
# containerd with runc, and the pod network. The pause image is made here: no public registry can be reached.

PAUSE_IMAGE=registry.bed.test/bed/pause:1

part_containerd_install() {
  local out=$BED_CACHE/pause.tar work layer
  [[ ! -e $out || $BED_HOME/pause.c -nt $out ]] || return 0
  work=$(mktemp -d)
  gcc -Os -static -o "$work/pause" "$BED_HOME/pause.c"
  # An image archive with one layer, by hand: it takes less than a tool to make it.
  tar -C "$work" --owner 0 --group 0 --mtime @0 -cf "$work/layer.tar" pause
  layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
  printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/pause"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(dpkg --print-architecture)" "$layer" >"$work/config.json"
  printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$PAUSE_IMAGE" >"$work/manifest.json"
  tar -C "$work" -cf "$out.new" manifest.json config.json layer.tar
  mv "$out.new" "$out"
  rm -rf "$work"
}

part_containerd_start() {
  mkdir -p "$BED_DIR"/{containerd,certs.d,cni}
  # restrict_oom_score_adj: without CAP_SYS_RESOURCE, lowering the score would fail each sandbox.
  cat >"$BED_DIR/containerd.toml" <<EOF
version = 2
root = "$BED_DIR/containerd"
oom_score = 0
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  restrict_oom_score_adj = true
  disable_apparmor = true
  max_concurrent_downloads = 4
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$BED_DIR/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$BED_DIR/certs.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
EOF
  # Routed pods (ptp), not bridged ones: on a bridge, answers between two pods of a Service would pass by the
  # translation of addresses unless br_netfilter is loaded.
  cat >"$BED_DIR/cni/10-bed.conflist" <<EOF
{"cniVersion": "0.4.0", "name": "bed", "plugins": [
  {"type": "ptp", "ipMasq": false, "mtu": 1500,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
EOF
  start_daemon containerd containerd --config "$BED_DIR/containerd.toml"
  wait_for 30 containerd in_bed ctr version
  in_bed ctr --namespace k8s.io images import "$BED_CACHE/pause.tar" >>"$BED_LOGS/containerd.log"
}
