# shellcheck shell=bash
# Two registries over TLS: registry.bed.test:5000 for all, :5001 for users with a password of their own: "puller", "pusher" with
# whom builds push, and "builder" for what a builder reads and keeps. Its passwords are all its rights: it knows no others.
#   $BED_DIR/secrets/registry-password, pusher-password, builder-password
#   $BED_DIR/secrets/.dockerconfigjson, pusher.dockerconfigjson, builder.dockerconfigjson (credentials for :5001)
#   $BED_DIR/certs.d/HOST:PORT/          for containerd (hosts.toml) and for skopeo's --src/dest-cert-dir (ca.crt)

# registry_config STORAGE ADDRESS: the settings of a registry without TLS and password.
registry_config() {
  cat <<EOF
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: $1}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http:
  addr: $2
  secret: one instance, so any
EOF
}

part_registry_start() {
  local secrets=$BED_DIR/secrets store side port user
  mkdir -p "$BED_DIR/registry" "$secrets"
  chmod 700 "$secrets"
  : >"$BED_DIR/registry/htpasswd"
  for user in puller pusher builder; do registry_user "$user"; done
  mv "$secrets/puller-password" "$secrets/registry-password"
  mv "$secrets/puller.dockerconfigjson" "$secrets/.dockerconfigjson"
  make_cert registry registry.bed.test "DNS:registry.bed.test,IP:$NODE_IP"

  store=$(images_store)
  for side in public auth; do
    port=$(registry_port "$side")
    registry_copy "$store/$side" "$BED_DIR/registry/$side"
    {
      registry_config "$BED_DIR/registry/$side" "$NODE_IP:$port"
      echo "  tls: {certificate: $BED_PKI/registry.crt, key: $BED_PKI/registry.key}"
      [[ $side == public ]] || echo "auth: {htpasswd: {realm: bed, path: $BED_DIR/registry/htpasswd}}"
    } >"$BED_DIR/registry/$side.yml"
    mkdir -p "$BED_DIR/certs.d/registry.bed.test:$port"
    cp "$BED_PKI/ca.crt" "$BED_DIR/certs.d/registry.bed.test:$port/ca.crt"
    cat >"$BED_DIR/certs.d/registry.bed.test:$port/hosts.toml" <<EOF
server = "https://registry.bed.test:$port"
[host."https://registry.bed.test:$port"]
  capabilities = ["pull", "resolve"]
  ca = "$BED_PKI/ca.crt"
EOF
  done
  registry_run public
  registry_run auth
}

# registry_user NAME: a user of the registry with passwords, and what others need to be that user.
registry_user() {
  local password secrets=$BED_DIR/secrets
  password=$(random_password)
  printf '%s' "$password" >"$secrets/$1-password"
  htpasswd -bBn -C 5 "$1" "$password" | grep . >>"$BED_DIR/registry/htpasswd"
  cat >"$secrets/$1.dockerconfigjson" <<EOF
{"auths":{"registry.bed.test:5001":{"username":"$1","password":"$password","auth":"$(printf '%s:%s' "$1" "$password" | base64 -w0)"}}}
EOF
}

registry_port() { if [[ $1 == public ]]; then echo 5000; else echo 5001; fi; }

registry_daemon() { if [[ $1 == public ]]; then echo registry; else echo registry-auth; fi; }

registry_run() {
  local port
  port=$(registry_port "$1")
  start_daemon "$(registry_daemon "$1")" docker-registry serve "$BED_DIR/registry/$1.yml"
  # Without credentials the one with a password answers 401, and that will do.
  wait_for 10 "registry on port $port" in_bed curl --silent --max-time 2 --cacert "$BED_PKI/ca.crt" "https://registry.bed.test:$port/v2/"
}

# The registry writes blobs once, under new names, so they can be links to the cache; the small files it writes in place.
registry_copy() {
  local from=$1/docker/registry/v2 to=$2/docker/registry/v2
  mkdir -p "$to"
  [[ -d $from ]] || return 0
  cp -a "$from/repositories" "$to/"
  cp -al "$from/blobs" "$to/" 2>/dev/null || cp -a "$from/blobs" "$to/"
}
