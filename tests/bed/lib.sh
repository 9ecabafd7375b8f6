# shellcheck shell=bash
# What every part of the bed shares. `bed` sources this file, versions.env and all of parts/*.sh.
#
# A part is one file parts/NN-NAME.sh. It may define (none is required; `bed` calls those that exist)
#   part_NAME_install   long work on the host: build into the cache. No namespaces exist yet. Packages are installed before.
#   part_NAME_start     start daemons in the bed and wait until they serve. Parts start in the order of their numbers.
#   part_NAME_stop      only for what does not die with the bed's processes; called in reverse order.
#   part_NAME_env       print more KEY=value lines for `bed env` (use env_line KEY VALUE).
# and in versions.env the Debian packages it needs, PKGS_NAME=(…). Services that these packages would enable are
# listed in PKGS_UNITS; they are neither started nor enabled on the host. Tier a runs the parts in TIER_A_PARTS, tier b all.
#
# Variables, all exported:
#   BED_HOME   tests/bed                      BED_NAME   instance name            TIER   a or b
#   BED_CACHE  long builds, kept              BED_DIR    state of this instance; gone after `bed down` except logs
#   BED_LOGS   $BED_DIR/logs                  BED_RUN    $BED_DIR/run (pid files) BED_PKI  $BED_DIR/pki
#   $BED_RUN/api.sock serves the API server's paths over plain HTTP, with all rights, to root alone
#   BED_KUBECONFIG  $BED_DIR/admin.kubeconfig BED_AUDIT_LOG  $BED_LOGS/audit.log  BED_CGROUP cgroup of all pods
#   NODE_IP 10.88.0.1  DNS_IP 10.88.0.53  SERVICE_CIDR 10.96.0.0/16  CLUSTER_DNS 10.96.0.10  POD_CIDR 10.244.0.0/16
#   BED_HOSTS  the names that lead to NODE_IP, in the bed's /etc/hosts and in the cluster's DNS
# Functions:
#   say TEXT, die TEXT             progress on stderr; die also exits 1
#   wait_for SECONDS WHAT CMD…     poll CMD (on the host side) until it succeeds; die naming WHAT after the deadline
#   in_bed CMD…                    run CMD in the bed's network, mount and pid namespaces, in the caller's directory
#   start_daemon NAME CMD…         the same in the background: log $BED_LOGS/NAME.log, pid file $BED_RUN/NAME.pid, cwd /
#   daemon_alive NAME              true while it runs
#   random_password                24 letters and digits: their beginning is no number of some digest
#   bare CMD…                      run CMD with no open files but the standard ones
#   make_cert NAME CN SANS [O]     $BED_PKI/NAME.crt and .key signed by $BED_PKI/ca.crt; SANS like
#                                  "DNS:registry.bed.test,IP:10.88.0.1" or ""; for servers and clients alike
#   make_kubeconfig NAME           $BED_DIR/NAME.kubeconfig for the certificate NAME
#   go_build MODULE [LDFLAGS]      build the `tool` lines of go/MODULE/go.mod, once per version of its files,
#                                  into $(go_bin MODULE); that folder is on PATH, inside and outside
# The bed sees the host's files, with these of its own: /proc, /run (a fresh tmpfs, so /run/sshd and the like must be made),
# /etc/hosts, /etc/resolv.conf, /var/lib/{kubelet,cni}, /var/log/{pods,containers}. containerd listens on its default socket there,
# and reads registry settings from $BED_DIR/certs.d/HOST/hosts.toml.

# shellcheck disable=SC2034
TIER_A_PARTS=" namespaces certs etcd controlplane "

# Not plainly to stderr: an interrupt may be handled while a command runs whose output is discarded.
exec {BED_STDERR}>&2
say() { printf 'bed: %s\n' "$*" >&"$BED_STDERR"; }
die() { say "$*"; exit 1; }

setup_variables() {
  [[ $BED_NAME =~ ^[a-z0-9][a-z0-9-]{0,30}$ ]] || die "instance name '$BED_NAME': use up to 31 of a-z, 0-9 and '-'"
  [[ $TIER == a || $TIER == b ]] || die "TIER is '$TIER': use a (control plane) or b (node and services)"
  export BED_HOME BED_NAME TIER
  export BED_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/slipway/bed
  export BED_ROOT=/var/lib/slipway-bed
  export BED_DIR=$BED_ROOT/$BED_NAME
  export BED_LOGS=$BED_DIR/logs BED_RUN=$BED_DIR/run BED_PKI=$BED_DIR/pki
  export BED_KUBECONFIG=$BED_DIR/admin.kubeconfig BED_AUDIT_LOG=$BED_LOGS/audit.log
  export BED_CGROUP=slipway-bed-$BED_NAME
  export NODE_IP=10.88.0.1 DNS_IP=10.88.0.53
  export SERVICE_CIDR=10.96.0.0/16 CLUSTER_DNS=10.96.0.10 POD_CIDR=10.244.0.0/16
  export BED_HOSTS="registry.bed.test git.bed.test postgres.bed.test"
  export PATH=$PATH:/usr/sbin:/sbin
}

# Put what is built here on PATH.
use_binaries() {
  local module
  for module in "$BED_HOME"/go/*; do PATH=$(go_bin "${module##*/}"):$PATH; done
}

# --- waiting ---------------------------------------------------------------------------------------------------------

wait_for() {
  local seconds=$1 what=$2 end
  shift 2
  end=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || die "$what: not there after $seconds s (logs: $BED_LOGS)"
    sleep 0.1
  done
}

# --- processes -------------------------------------------------------------------------------------------------------
# A pid file holds a pid and its start time, so that a number that the kernel has given to another process is never taken
# for ours. Each process writes its own file before it becomes the daemon: no moment in which it runs unrecorded.

# shellcheck disable=SC2016
RECORD_SELF='
  stat=$(<"/proc/$$/stat") && read -ra f <<<"${stat##*) }"
  echo "$$ ${f[19]}" >"$1.new" && mv "$1.new" "$1" && shift'

# process_of PROC FILE: the pid in FILE if that process still is in the /proc given, else failure.
process_of() {
  local proc=$1 pid start stat f
  read -r pid start 2>/dev/null <"$2" || return 1
  { read -r stat <"$proc/$pid/stat"; } 2>/dev/null || return 1
  read -ra f <<<"${stat##*) }"
  [[ ${f[19]} == "$start" && ${f[0]} != Z ]] || return 1
  echo "$pid"
}

# The host's pid of the bed's pid 1.
node_pid() {
  local holder child
  holder=$(process_of /proc "$BED_RUN/holder.pid") || return 1
  # What the kernel writes there has no newline, which `read` takes for a failure.
  { read -r child _ <"/proc/$holder/task/$holder/children"; } 2>/dev/null || true
  [[ -n $child ]] && echo "$child"
}

in_bed() {
  local node
  node=$(node_pid) || die "instance '$BED_NAME' is not up"
  nsenter --target "$node" --net --mount --pid --wdns="$PWD" -- "$@"
}

start_daemon() {
  local name=$1
  shift
  rm -f "$BED_RUN/$name.pid"
  # A descriptor that a daemon inherits, such as a lock, would outlive the script that opened it.
  # shellcheck disable=SC2016
  in_bed setsid --fork bash -c '
    cd /
    '"$RECORD_SELF"'
    for fd in /proc/self/fd/*; do fd=${fd##*/}; ((fd <= 2)) || eval "exec $fd>&-"; done
    exec "$@"' _ "$BED_RUN/$name.pid" "$@" </dev/null >>"$BED_LOGS/$name.log" 2>&1
  wait_for 5 "$name" test -e "$BED_RUN/$name.pid"
}

daemon_alive() {
  local node
  node=$(node_pid) && process_of "/proc/$node/root/proc" "$BED_RUN/$1.pid" >/dev/null
}

# bare CMD…: run it with no open files but the standard ones. What somebody else has opened, such as the pipes of `make -j`,
# moves those that a program opens itself past the nine that dash can name.
bare() {
  (
    for fd in /proc/self/fd/*; do fd=${fd##*/}; ((fd <= 2)) || eval "exec $fd>&-"; done
    exec "$@"
  )
}

random_password() { openssl rand -base64 48 | tr -dc 'A-Za-z0-9' | cut -c1-24; }

# --- certificates ----------------------------------------------------------------------------------------------------

make_cert() {
  local name=$1 cn=$2 sans=$3 org=${4:-} cert=$BED_PKI/$1
  openssl ecparam -name prime256v1 -genkey -noout -out "$cert.key"
  openssl req -new -key "$cert.key" -subj "${org:+/O=$org}/CN=$cn" -out "$cert.csr"
  openssl x509 -req -in "$cert.csr" -CA "$BED_PKI/ca.crt" -CAkey "$BED_PKI/ca.key" -days 365 -out "$cert.crt" -extfile <(
    echo "basicConstraints=critical,CA:FALSE"
    echo "keyUsage=critical,digitalSignature,keyEncipherment"
    echo "extendedKeyUsage=serverAuth,clientAuth"
    [[ -z $sans ]] || echo "subjectAltName=$sans"
  ) 2>/dev/null
  rm -f "$cert.csr"
}

make_kubeconfig() {
  local name=$1
  cat >"$BED_DIR/$name.kubeconfig" <<EOF
apiVersion: v1
kind: Config
clusters:
- name: bed
  cluster: {server: "https://$NODE_IP:6443", certificate-authority-data: $(base64 -w0 "$BED_PKI/ca.crt")}
users:
- name: $name
  user:
    client-certificate-data: $(base64 -w0 "$BED_PKI/$name.crt")
    client-key-data: $(base64 -w0 "$BED_PKI/$name.key")
contexts:
- name: bed
  context: {cluster: bed, user: $name}
current-context: bed
EOF
  chmod 600 "$BED_DIR/$name.kubeconfig"
}

# --- builds ----------------------------------------------------------------------------------------------------------

# The folder with the binaries of one Go module; its name follows from go.mod and go.sum.
go_bin() {
  local dir=$BED_HOME/go/$1
  echo "$BED_CACHE/bin-$1-$(cat "$dir"/go.{mod,sum} "$dir"/*/*.go 2>/dev/null | sha256sum | cut -c1-16)"
}

# The version that the go.mod of MODULE requires of a package.
go_version_of() { awk -v p="$2" '$1 == p && $2 ~ /^v/ { print $2; exit }' "$BED_HOME/go/$1/go.mod"; }

# The flags with which every module is read.
GO_FLAGS='-mod=readonly -buildvcs=false'

# Fetch what the modules need, while others are built: their sources take as long to come as some take to compile.
go_fetch() {
  local module
  for module; do
    [[ -e $(go_bin "$module")/.complete ]] ||
      (cd "$BED_HOME/go/$module" && GOFLAGS=$GO_FLAGS nice go list -deps tool >/dev/null 2>&1) || true
  done
}

go_build() {
  local module=$1 ldflags=${2:-} out
  out=$(go_bin "$module")
  [[ ! -e $out/.complete ]] || return 0
  say "building $module (once; a few minutes)"
  mkdir -p "$out"
  (
    flock 8 # two instances may start on an empty cache
    [[ ! -e $out/.complete ]] || exit 0
    cd "$BED_HOME/go/$module" || exit
    # The compiler spends a fifth of its time collecting garbage of packages that need little memory.
    CGO_ENABLED=0 GOFLAGS=$GO_FLAGS GOGC=off GOMEMLIMIT=4GiB nice go build -trimpath -ldflags "-s -w $ldflags" -o "$out/" tool ||
      die "building $module failed"
    touch "$out/.complete"
  ) 8>"$out/.lock" >&2
}
