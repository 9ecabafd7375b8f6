# shellcheck shell=bash
# The namespaces that everything of an instance lives in, and their network without an uplink.

# Runs as pid 1 of the bed. Killing it ends every process, and with them the mounts and the network.
namespaces_init() {
  set -euo pipefail
  cd /
  # /run first: sockets of containerd, /run/netns/cni-*, lock files.
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p /run/lock /run/netns
  chmod 1777 /run/lock
  mkdir -p "$BED_DIR"/{kubelet,cni-state,certs.d} "$BED_LOGS"/{pods,containers}
  bind() { mkdir -p "$2" && mount --bind "$1" "$2"; }
  bind "$BED_DIR/kubelet" /var/lib/kubelet
  bind "$BED_DIR/cni-state" /var/lib/cni
  bind "$BED_LOGS/pods" /var/log/pods
  bind "$BED_LOGS/containers" /var/log/containers
  printf '%s\n' "127.0.0.1 localhost" "$NODE_IP node1 $BED_HOSTS" >"$BED_DIR/hosts"
  # Nobody answers on this address until the DNS part runs, so look-ups fail at once instead of hanging.
  printf '%s\n' "nameserver $DNS_IP" "options timeout:1 attempts:2" >"$BED_DIR/resolv.conf"
  mount --bind "$BED_DIR/hosts" /etc/hosts
  mount --bind "$BED_DIR/resolv.conf" /etc/resolv.conf
  # kubelet and kube-proxy set kernel-wide values. They find what they want here, and the machine keeps its own.
  local pair key
  for pair in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    key=${pair%=*}
    echo "${pair#*=}" >"/run/sysctl-${key//\//-}"
    mount --bind "/run/sysctl-${key//\//-}" "/proc/sys/$key"
  done
  mount --make-rshared /

  ip link set lo up
  ip link add node0 type bridge
  ip address add "$NODE_IP/24" dev node0
  ip address add "$DNS_IP/24" dev node0
  ip link set node0 up
  # Kubernetes wants a default route. The bridge has no port, so nothing leaves by it.
  ip route add default via 10.88.0.254 dev node0
  echo 1 >/proc/sys/net/ipv4/ip_forward
  # What is meant for outside is refused at once instead of after three seconds of asking for a neighbour.
  ip rule add to 10.0.0.0/8 lookup main priority 10
  ip rule add unreachable priority 20
  touch /run/bed-ready
  # An orphan's parent is pid 1, and bash reaps what it did not start as well.
  while :; do
    sleep 3600 &
    wait
  done
}

part_namespaces_start() {
  local dir
  for dir in /sys/fs/cgroup/*/; do
    mountpoint -q "$dir" || continue
    mkdir -p "$dir$BED_CGROUP"
  done
  cat /sys/fs/cgroup/cpuset/cpuset.cpus >"/sys/fs/cgroup/cpuset/$BED_CGROUP/cpuset.cpus"
  cat /sys/fs/cgroup/cpuset/cpuset.mems >"/sys/fs/cgroup/cpuset/$BED_CGROUP/cpuset.mems"
  # shellcheck disable=SC2016
  setsid --fork bash -c '
    '"$RECORD_SELF"'
    for fd in /proc/self/fd/*; do fd=${fd##*/}; ((fd <= 2)) || eval "exec $fd>&-"; done
    exec unshare --net --mount --propagation private --pid --fork --kill-child --mount-proc bash -c "$1"
    ' _ "$BED_RUN/holder.pid" "$(declare -f namespaces_init); namespaces_init" </dev/null >>"$BED_LOGS/namespaces.log" 2>&1
  wait_for 10 "namespaces" namespaces_ready
}

namespaces_ready() {
  local node
  node=$(node_pid) && [[ -e /proc/$node/root/run/bed-ready ]]
}

part_namespaces_stop() {
  local holder node dir
  if holder=$(process_of /proc "$BED_RUN/holder.pid"); then
    # The holder's death kills its child, pid 1, and that one's death everything inside.
    node=$(node_pid) || node=
    kill -KILL "$holder"
    [[ -z $node ]] || wait_for 20 "end of the bed's processes" test ! -d "/proc/$node"
  fi
  for dir in /sys/fs/cgroup/*/"$BED_CGROUP"; do
    [[ ! -d $dir ]] || wait_for 20 "removal of $dir" remove_cgroup "$dir"
  done
}

# A cgroup can be removed once the kernel is done with the last process in it.
remove_cgroup() {
  find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
  [[ ! -d $1 ]]
}
