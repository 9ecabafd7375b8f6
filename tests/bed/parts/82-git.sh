# shellcheck shell=bash
# Git over https, plain http (both with user "slipway" and a password) and ssh (user "git", a key), as git.bed.test.
# Repositories are bare, in $BED_DIR/git/NAME.git; the script git-new makes them.
#   $BED_DIR/secrets/git-password   ssh-key, ssh-key.pub   known_hosts

part_git_start() {
  local secrets=$BED_DIR/secrets dir=$BED_DIR/git-server password
  mkdir -p "$BED_DIR/git" "$dir" "$secrets"
  chmod 700 "$secrets"
  password=$(random_password)
  printf '%s' "$password" >"$secrets/git-password"
  echo "slipway:$(openssl passwd -apr1 "$password")" >"$dir/htpasswd"
  make_cert git git.bed.test "DNS:git.bed.test,IP:$NODE_IP"
  git_nginx_config "$dir" >"$dir/nginx.conf"

  ssh-keygen -q -t ed25519 -N "" -C slipway -f "$secrets/ssh-key"
  ssh-keygen -q -t ed25519 -N "" -C git.bed.test -f "$dir/ssh-host-key"
  echo "git.bed.test $(cut -d' ' -f1,2 "$dir/ssh-host-key.pub")" >"$secrets/known_hosts"
  echo "restrict,command=\"$dir/ssh-command\" $(cat "$secrets/ssh-key.pub")" >"$dir/authorized_keys"
  # ssh://git@git.bed.test/NAME.git asks for '/NAME.git'. git-shell runs git's own commands and nothing else.
  cat >"$dir/ssh-command" <<EOF
#!/bin/bash
exec git-shell -c "\${SSH_ORIGINAL_COMMAND/\'\//\'$BED_DIR/git/}"
EOF
  chmod 755 "$dir/ssh-command"
  cat >"$dir/sshd_config" <<EOF
ListenAddress $NODE_IP:22
HostKey $dir/ssh-host-key
AuthorizedKeysFile $dir/authorized_keys
PermitRootLogin forced-commands-only
AllowUsers git
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
UseDNS no
PidFile none
PrintMotd no
AcceptEnv GIT_PROTOCOL
EOF
  # The user "git" is only known inside, and is root under another name: repositories have one owner on all ways in.
  cp /etc/passwd "$dir/passwd"
  echo "git:*:0:0::$BED_DIR/git:/bin/sh" >>"$dir/passwd"
  in_bed mount --bind "$dir/passwd" /etc/passwd
  in_bed mkdir -p /run/sshd
  git_run
  ssh_run
}

git_run() {
  rm -f "$BED_DIR/git-server/fcgi.sock"
  start_daemon git-cgi fcgiwrap -f -c 8 -s "unix:$BED_DIR/git-server/fcgi.sock"
  wait_for 5 "fcgiwrap" test -S "$BED_DIR/git-server/fcgi.sock"
  start_daemon git nginx -p "$BED_DIR/git-server" -c "$BED_DIR/git-server/nginx.conf" -e stderr
  wait_for 10 "git over https" in_bed curl --silent --max-time 2 --cacert "$BED_PKI/ca.crt" https://git.bed.test/
}

ssh_run() {
  start_daemon ssh /usr/sbin/sshd -D -e -f "$BED_DIR/git-server/sshd_config"
  wait_for 10 "git over ssh" in_bed bash -c 'exec 3<>/dev/tcp/git.bed.test/22'
}

git_nginx_config() {
  local dir=$1
  cat <<EOF
daemon off;
user root;
worker_processes 2;
pid $dir/nginx.pid;
error_log stderr warn;
events { worker_connections 512; }
http {
  access_log $BED_LOGS/git-access.log;
  client_body_temp_path $dir/tmp-body;
  fastcgi_temp_path $dir/tmp-fastcgi;
  proxy_temp_path $dir/tmp-proxy;
  scgi_temp_path $dir/tmp-scgi;
  uwsgi_temp_path $dir/tmp-uwsgi;
  client_max_body_size 0;
  server {
    listen $NODE_IP:443 ssl;
    listen $NODE_IP:80;
    server_name git.bed.test;
    ssl_certificate $BED_PKI/git.crt;
    ssl_certificate_key $BED_PKI/git.key;
    auth_basic git;
    auth_basic_user_file $dir/htpasswd;
    location / {
      fastcgi_pass unix:$dir/fcgi.sock;
      fastcgi_read_timeout 300s;
      fastcgi_param SCRIPT_FILENAME /usr/lib/git-core/git-http-backend;
      fastcgi_param GIT_PROJECT_ROOT $BED_DIR/git;
      fastcgi_param GIT_HTTP_EXPORT_ALL 1;
      fastcgi_param PATH_INFO \$uri;
      fastcgi_param QUERY_STRING \$query_string;
      fastcgi_param REQUEST_METHOD \$request_method;
      fastcgi_param CONTENT_TYPE \$content_type;
      fastcgi_param CONTENT_LENGTH \$content_length;
      fastcgi_param REMOTE_USER \$remote_user;
      fastcgi_param REMOTE_ADDR \$remote_addr;
    }
  }
}
EOF
}
