# shellcheck shell=bash
# DHCP through a relay: rate, cost and latency by number of hosts, a storm, a restart, memory.

# shellcheck source=tests/bench/peers.sh
. tests/bench/peers.sh
# shellcheck source=tests/bench/dhcp-peers.sh
. tests/bench/dhcp-peers.sh
# shellcheck source=tests/bench/product.sh
. tests/bench/product.sh

suite_run() {
    local count counts=(1000 10000) dir
    [ -z "$quick" ] || counts=(10000)
    install_packages kea-dhcp4-server isc-dhcp-server dnsmasq-base curl zstd
    bench_files
    for count in "${counts[@]}"; do
        dir=$RUN/dhcp-$count
        mkdir -p "$dir"
        if wanted kea; then
            kea_config "$count" "$dir" persist
            peer_rows kea "$count" env "KEA_PIDFILE_DIR=$dir" "KEA_LOCKFILE_DIR=$dir" KEA_LOGGER_DESTINATION=stderr \
                kea-dhcp4 -c "$dir/kea.json"
        fi
        if wanted kea-memory && [ -z "$quick" ]; then
            kea_config "$count" "$dir" memory
            peer_rows kea-memory "$count" env "KEA_PIDFILE_DIR=$dir" "KEA_LOCKFILE_DIR=$dir" KEA_LOGGER_DESTINATION=stderr \
                kea-dhcp4 -c "$dir/kea.json"
        fi
        if wanted isc-dhcpd; then
            isc_config "$count" "$dir"
            peer_rows isc-dhcpd "$count" dhcpd -4 -f -q -cf "$dir/dhcpd.conf" -lf "$dir/dhcpd.leases" -pf "$dir/dhcpd.pid" mmb0
        fi
        if wanted dnsmasq; then
            dnsmasq_config "$count" "$dir"
            peer_rows dnsmasq "$count" dnsmasq -k -C "$dir/dnsmasq.conf" -x "$dir/dnsmasq.pid"
        fi
        if wanted metalman; then
            [ -n "$METALMAN" ] || product_build
            product_rows "$count"
        fi
    done
    [ -n "$quick" ] || ! wanted metalman || netboot_rows 100000
    server_stop
}

# peer_rows NAME N CMD…
peer_rows() {
    local name=$1 count=$2
    shift 2
    step "$name, $count hosts"
    server_start "$name" "$@"
    until_answered
    rows "$count"
    [ "$count" != 10000 ] || restart_row "$@"
    server_stop
}

product_rows() {
    local command
    step "metalman, $1 hosts"
    product_start "$1"
    until_answered
    rows "$1"
    [ "$1" != 10000 ] || {
        mapfile -t command < <(product_command "$STATE")
        restart_row "${command[@]}"
    }
    server_stop
}

# netboot_rows N: the boot servers alone. The whole program would take N / 1 000 seconds and more to fill.
netboot_rows() {
    step "netboot alone, $1 hosts"
    local count binary
    binary=$(built netboot_only -p metalman-bench --example netboot_only)
    for count in 1000 "$1"; do
        server_start 'netboot only' "$binary" "$SERVER_IP" "$count" "$BENCH/files"
        until_answered
        load_row "$count"
    done
}

until_answered() { generator first --limit-s 60 >/dev/null || die "$SERVER_NAME does not answer: $(tail -n 3 "$RUN/$SERVER_NAME.log")"; }

rows() {
    load_row "$1"
    [ "$1" = 10000 ] || return 0
    storm_row
    row '10 000 hosts, memory' "{\"rss_mb_min\": $(server_rss_mb)}"
}

# load_row N: the middle of three runs.
load_row() {
    local try tries=3 all=''
    [ -z "$quick" ] || tries=1
    generator dhcp --clients "$1" --inflight 16 --seconds 0.5 >/dev/null
    for ((try = 0; try < tries; try++)); do
        measured . dhcp --clients "$1" --inflight 16 --seconds 2
        all+=$MEASURED
    done
    MEASURED=$(median per_s <<<"$all")
    row "$1 hosts, 16 in flight" "$(jq -c '{dora_s_max: .per_s, cpu_us_min: (if .done > 0 then .server_cpu_us / .done else null end),
        p50_us_min: .dora_us.p50, p99_us_min: .dora_us.p99, dropped, moved: .bound.moved, other}' <<<"$MEASURED")" \
        "$(jq -r '[(if .bound.without_boot_file > 0 then "\(.bound.without_boot_file) without boot file" else empty end), (.error // empty)] | join("; ")' <<<"$MEASURED")"
}

storm_row() {
    measured . storm --clients 500 --limit-s 40
    row '500 machines in one instant' "$(jq -c '{bound_max: .bound, resent, all_bound_ms_min: .all_bound_ms,
        p99_ms: (.dora_us.p99 / 1000)}' <<<"$MEASURED")"
}

# restart_row CMD…: kill -9, start again, first answer. The middle of three.
restart_row() {
    local try times='' begun
    for try in 1 2 3; do
        server_kill
        rm -f "$RUN"/dhcp-*/*.pid
        begun=$(date +%s%N)
        server_start "$SERVER_NAME" "$@"
        times+=$(generator first --client $((try * 7)) --limit-s 30 | jq --argjson begun "$((begun / 1000))" '{ms: ((.answered_at_us - $begun) / 1000)}')
    done
    row '10 000 hosts, kill -9 to first answer' "$(median ms <<<"$times" | jq -c '{ms_min: .ms}')"
}
