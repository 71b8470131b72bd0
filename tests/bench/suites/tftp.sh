# shellcheck shell=bash
# TFTP: one reader, many readers, a bad network, requests that nobody follows.

# shellcheck source=tests/bench/peers.sh
. tests/bench/peers.sh
# shellcheck source=tests/bench/product.sh
. tests/bench/product.sh

MACHINES=1000

suite_run() {
    install_packages tftpd-hpa dnsmasq-base curl zstd
    bench_files
    local binary atftpd
    if wanted tftpd-hpa; then
        server_start tftpd-hpa in.tftpd -L -4 -a 0.0.0.0:69 -u root -s "$BENCH/files"
        tftp_rows
    fi
    if wanted dnsmasq; then
        server_start dnsmasq dnsmasq -k -C /dev/null -p 0 --enable-tftp "--tftp-root=$BENCH/files" --user=root --tftp-max=1000 \
            --log-facility=/dev/null "-x$RUN/dnsmasq.pid"
        tftp_rows
        if [ -z "$quick" ]; then
            server_start 'dnsmasq (default limit)' dnsmasq -k -C /dev/null -p 0 --enable-tftp "--tftp-root=$BENCH/files" --user=root \
                --log-facility=/dev/null "-x$RUN/dnsmasq.pid"
            half_open_row
        fi
    fi
    if wanted atftpd; then
        atftpd=$(unpacked_package atftpd)
        server_start atftpd "$atftpd/usr/sbin/atftpd" --daemon --no-fork --user root --group root --maxthread 1000 --logfile /dev/null \
            --verbose=0 "$BENCH/files"
        tftp_rows
    fi
    if wanted tftpd-crate && binary=$(crate_binary tftpd 1.0.0 tftpd); then
        server_start tftpd-crate "$binary" -i 0.0.0.0 -p 69 -d "$BENCH/files" -r
        tftp_rows
    fi
    if wanted async-tftp && binary=$(async_tftp_binary); then
        server_start async-tftp "$binary" "$BENCH/files" 0.0.0.0:69
        tftp_rows
    fi
    if wanted metalman; then
        product_build
        product_start $MACHINES
        tftp_rows
    fi
    server_stop
}

# tftp_rows: everything, for the server that runs.
tftp_rows() {
    step "$SERVER_NAME"
    sleep 0.5
    read_row '1 client, window 1' big.img 1 1
    [ -n "$quick" ] || read_row '1 client, window 4' big.img 1 4
    read_row '1 client, window 16' big.img 1 16
    read_row '200 clients x 1 MiB, window 1' shimx64.efi 200 1
    read_row '200 clients x 1 MiB, window 16' shimx64.efi 200 16
    [ -z "$quick" ] || return 0
    read_row '500 clients x 1 MiB, window 1' shimx64.efi 500 1
    lossy_row '1 ms, 0.5 % loss, 50 clients, window 1' 1
    lossy_row '1 ms, 0.5 % loss, 50 clients, window 16' 16
    half_open_row
}

# read_row TITLE FILE CLIENTS WINDOW
read_row() {
    local best='' try tries=2
    [ -z "$quick" ] || tries=1
    for ((try = 0; try < tries; try++)); do
        measured . tftp --server $SERVER_IP:69 --file "$2" --reference "$BENCH/files/$2" --clients "$3" --windowsize "$4" \
            --source $CLIENTS_FIRST --limit-s 20
        best=$(printf '%s\n' "$best" "$MEASURED" | jq -cs 'max_by(.megabytes_per_s // 0)')
    done
    row "$1" "$(jq -c '{mb_s_max: .megabytes_per_s, cpu_ms_mb_min: (if (.megabytes // 0) > 0 then .server_cpu_us / 1000 / .megabytes else null end),
        seconds_min: .seconds, done, failed, unfinished, timeouts: .client_timeouts, rss_mb, other}' <<<"$best")" "$(notes "$best")"
}

# lossy_row TITLE WINDOW
lossy_row() {
    measured . tftp --server $SERVER_IP:69 --file shimx64.efi --reference "$BENCH/files/shimx64.efi" --clients 50 --windowsize "$2" \
        --source $CLIENTS_FIRST --delay-us 500 --loss-ppm 5000 --limit-s 12
    row "$1" "$(jq -c '{p50_s_min: (if .done > 25 then .transfer_us.p50 / 1e6 else null end),
        p99_s: (if .done > 0 then .transfer_us.p99 / 1e6 else null end), done, failed, unfinished,
        cpu_ms_mb_min: (if (.megabytes // 0) > 0 then .server_cpu_us / 1000 / .megabytes else null end), other}' <<<"$MEASURED")" "$(notes "$MEASURED")"
}

# half_open_row: 10 000 requests from 500 addresses that nobody follows; then 50 real readers.
half_open_row() {
    local before after holder
    before=$(server_rss_mb)
    mkfifo "$RUN/hold"
    generator half-open --server $SERVER_IP:69 --file shimx64.efi --count 10000 --source 198.18.20.0 --sources 600 --pause-us 5000 \
        <"$RUN/hold" >"$RUN/half-open.json" 2>"$RUN/half-open.err" &
    holder=$!
    exec 7>"$RUN/hold"
    until [ -s "$RUN/half-open.json" ] || ! kill -0 $holder 2>/dev/null; do sleep 0.1; done
    after=$(server_rss_mb)
    measured . tftp --server $SERVER_IP:69 --file shimx64.efi --reference "$BENCH/files/shimx64.efi" --clients 50 --windowsize 4 \
        --source $CLIENTS_FIRST --limit-s 8
    exec 7>&-
    wait $holder || true
    rm -f "$RUN/hold"
    row '10 000 half-open, then 50 readers' "$(jq -c --argjson before "$before" --argjson after "$after" \
        '{served_max: (.done // 0), seconds: .seconds, rss_mb_more: ($after - $before), other}' <<<"$MEASURED")" "$(notes "$MEASURED")"
}

# notes JSON: what a figure does not say.
notes() {
    jq -r '[(if (.options_refused // 0) > 0 then "options refused" else empty end), ((.why // {}) | to_entries[0:2][] | "\(.value) x \(.key)"),
        (.error // empty)] | join("; ")' <<<"$1"
}
