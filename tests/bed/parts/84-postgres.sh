# shellcheck shell=bash
# PostgreSQL as postgres.bed.test:5432. The script db-new makes databases.
#   $BED_DIR/secrets/postgres-password   of the superuser "postgres"

POSTGRES_BIN=/usr/lib/postgresql/15/bin

part_postgres_start() {
  local secrets=$BED_DIR/secrets dir=$BED_DIR/postgres
  mkdir -p "$secrets"
  chmod 700 "$secrets"
  printf '%s' "$(random_password)" >"$secrets/postgres-password"
  install -d -m 700 -o postgres -g postgres "$dir"
  install -m 400 -o postgres "$secrets/postgres-password" "$BED_DIR/postgres-password"
  # From a directory where that user may be: the caller's may be closed to it.
  (
    cd /
    setpriv --reuid postgres --regid postgres --init-groups -- "$POSTGRES_BIN/initdb" --pgdata "$dir" --no-sync \
      --auth scram-sha-256 --encoding UTF8 --locale C.UTF-8 --username postgres --pwfile "$BED_DIR/postgres-password"
  ) >"$BED_LOGS/postgres-initdb.log" 2>&1 || die "initdb failed (log: $BED_LOGS/postgres-initdb.log)"
  rm "$BED_DIR/postgres-password"
  echo "host all all all scram-sha-256" >>"$dir/pg_hba.conf"
  # Nothing outlives the instance, so nothing need reach the disk; shared memory in files and in an IPC namespace of its
  # own, because segments would outlive a server that is killed.
  cat >>"$dir/postgresql.conf" <<EOF
listen_addresses = '$NODE_IP'
unix_socket_directories = ''
max_connections = 300
fsync = off
synchronous_commit = off
full_page_writes = off
dynamic_shared_memory_type = mmap
log_connections = off
log_statement = ddl
EOF
  postgres_run
}

postgres_run() {
  rm -f "$BED_DIR/postgres/postmaster.pid"
  start_daemon postgres unshare --ipc setpriv --reuid postgres --regid postgres --init-groups -- \
    "$POSTGRES_BIN/postgres" -D "$BED_DIR/postgres"
  wait_for 20 "PostgreSQL" in_bed "$POSTGRES_BIN/pg_isready" --quiet --host postgres.bed.test
}

# postgres_psql [DATABASE]: run SQL from stdin as superuser.
postgres_psql() {
  PGPASSWORD=$(<"$BED_DIR/secrets/postgres-password") in_bed psql --no-psqlrc --quiet --tuples-only --no-align \
    --set ON_ERROR_STOP=1 --host postgres.bed.test --username postgres "${1:-postgres}"
}
