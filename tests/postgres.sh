# shellcheck shell=bash
# A PostgreSQL of the test run's own: data and socket in a temporary folder, no TCP port, gone with the shell that sources this.

# postgres_start: sets POSTGRES_URL.
postgres_start() {
    local bin
    bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
    [ -x "$bin/initdb" ] || die "PostgreSQL is not installed: tests/run packages"
    POSTGRES_DIR=$(mktemp -d /tmp/metalman-pg.XXXXXX)
    trap postgres_stop EXIT
    chown postgres "$POSTGRES_DIR"
    # The socket is for whoever runs cargo.
    chmod 755 "$POSTGRES_DIR"
    postgres_run "$bin/initdb" --pgdata="$POSTGRES_DIR/data" --username=postgres --auth=trust --no-sync >/dev/null
    postgres_run "$bin/pg_ctl" --pgdata="$POSTGRES_DIR/data" --log="$POSTGRES_DIR/log" --wait --silent start \
        --options="-k $POSTGRES_DIR -c listen_addresses='' -c fsync=off -c full_page_writes=off -c max_connections=200"
    POSTGRES_BIN=$bin
    POSTGRES_URL="postgres://postgres@localhost/postgres?host=$POSTGRES_DIR"
}

postgres_run() { (cd / && runuser -u postgres -- "$@"); }

postgres_stop() {
    [ -z "${POSTGRES_BIN:-}" ] || postgres_run "$POSTGRES_BIN/pg_ctl" --pgdata="$POSTGRES_DIR/data" --mode=immediate --silent stop || true
    rm -rf "${POSTGRES_DIR:?}"
}
