# shellcheck shell=bash
# BMCs: a fleet that answers in 100 ms over TLS. Connecting to all, reading all, silent ones among them, and a power
# cycle of every machine. bmcsim has the generator's processor, the client under test the server's.
#
# Three clients: `metalman` is its BMC part alone (governors and store, no API), so that a poll can be told from the
# rest; `appliance` is the whole of `metalman serve --standalone`; `sushy-N` is Ironic's client with N workers.

# quick is set by tests/bench/run.
# shellcheck disable=SC2154

# shellcheck source=tests/bench/product.sh
. tests/bench/product.sh
# shellcheck source=tests/redfish/venv.sh
. tests/redfish/venv.sh

BMC_PORT=8443
ADMIN_PORT=8099
ADMIN=http://$CLIENT_IP:$ADMIN_PORT
LATENCY_MS=100 POWER_MS=3000
# As the appliance has it by default, see `metalman config example`.
CONNECTIONS=$(sed -n 's/^ *max_connections: Some(\(.*\)),$/\1/p' metalman/src/config/wire.rs)
LEASES_FIRST=198.18.32.0
SIM_PID=''

suite_run() {
    local count=1000 sim client workers
    [ -z "$quick" ] || count=100
    install_packages curl
    sim=$(built bmcsim -p bmcsim)
    trap 'sim_down; bench_down' EXIT
    if wanted metalman; then
        client=$(built bmc_client -p metalman-bench --example bmc_client)
        sim_up "$sim" $count
        client_rows metalman $count "$client" --bmcs "$CLIENTS_FIRST:$BMC_PORT" --count $count --connections "$CONNECTIONS" \
            --admin "$ADMIN" --rounds 10
    fi
    for workers in 8 50; do
        [ "$workers" = 50 ] || [ -z "$quick" ] || continue
        wanted "sushy-$workers" || continue
        need_venv
        sim_up "$sim" $count
        client_rows "sushy-$workers" $count "${JUDGE[@]}" "$VENV/bin/python" tests/bench/peers/sushy_poll.py \
            "$CLIENTS_FIRST" $count $BMC_PORT "$workers" 1
    done
    if wanted appliance || wanted metalman; then
        product_build
        appliance_rows "$sim" $count
    fi
    sim_down
}

# sim_up BMCSIM COUNT: a fresh fleet, all machines on.
sim_up() {
    local tries
    sim_down
    (in_cgroup generator ip netns exec $CLIENT_NS taskset -c $GENERATOR_CPU "$1" --count "$2" --listen "$CLIENTS_FIRST:$BMC_PORT" \
        --by-address --latency-ms $LATENCY_MS --power-ms $POWER_MS --powered-on --admin "$CLIENT_IP:$ADMIN_PORT" --log warn \
        >>"$RUN/bmcsim.log" 2>&1 </dev/null 8>&-) &
    SIM_PID=$!
    disown $SIM_PID
    for ((tries = 0; tries < 100; tries++)); do
        ! ip netns exec $CLIENT_NS curl -fs -m 1 -o /dev/null "$ADMIN/bmcs" || return 0
        kill -0 $SIM_PID 2>/dev/null || break
        sleep 0.1
    done
    tail -n 3 "$RUN/bmcsim.log" >&2
    die "bmcsim did not start"
}

sim_down() {
    [ -n "$SIM_PID" ] || return 0
    kill "$SIM_PID" 2>/dev/null || true
    while kill -0 "$SIM_PID" 2>/dev/null; do sleep 0.05; done
    SIM_PID=''
}

# Microseconds of processor time the fleet has used.
sim_cpu_us() { awk -v hz="$(getconf CLK_TCK)" '{sub(/.*\) /, ""); printf "%.0f", ($12 + $13) * 1000000 / hz}' "/proc/$SIM_PID/stat"; }

# others BEGIN-BUSY BEGIN-SERVER BEGIN-SIM BEGIN-MS: cores used by what is neither client nor fleet since then.
others() {
    local busy=$(($(busy_us) - $1)) server=$(($(server_cpu_us) - $2)) sim=$(($(sim_cpu_us) - $3)) wall=$((($(date +%s%N) / 1000000 - $4) * 1000))
    awk -v rest=$((busy - server - sim)) -v wall=$wall 'BEGIN{printf "%.2f", (rest > 0 ? rest / wall : 0)}'
}

# client_rows NAME COUNT CMD…: runs a client to its end and makes rows of what it says.
client_rows() {
    local name=$1 count=$2 out other busy server sim begun
    shift 2
    server_stop
    SERVER_NAME=$name
    step "$name, $count BMCs that answer in $LATENCY_MS ms"
    busy=$(busy_us) server=$(server_cpu_us) sim=$(sim_cpu_us) begun=$(($(date +%s%N) / 1000000))
    out=$( (in_cgroup server ip netns exec $SERVER_NS taskset -c $SERVER_CPU "$@" 2>"$RUN/$name.log" 8>&-)) || {
        tail -n 3 "$RUN/$name.log" >&2
        die "$name failed"
    }
    other=$(others "$busy" "$server" "$sim" "$begun")
    row "connect to $count BMCs" "$(jq -c --argjson other "$other" '.connect | {s_min: .seconds, cpu_us_min: .cpu_us, p99_ms, failed, other: $other}' <<<"$out")"
    row "read $count BMCs" "$(jq -c '(.poll | {s_min: .seconds, cpu_us_min: .cpu_us, p50_ms, p99_ms, failed}) + {rss_mb_min: .memory_mb.polled}
        + if .memory_mb.empty then {rss_mb_of_bmcs: (.memory_mb.polled - .memory_mb.empty)} else {} end' <<<"$out")"
    [ "$(jq 'has("silent")' <<<"$out")" = true ] || return 0
    row "read the others, $(jq .silent.bmcs <<<"$out") of $count silent" "$(jq -c '.silent | {p50_ms: .with.p50_ms, p50_ms_without: .without.p50_ms,
        p99_ms: .with.p99_ms, p99_ms_without: .without.p99_ms, p99_ratio: (.with.p99_ms / .without.p99_ms), failed: .with.failed}' <<<"$out")"
    row "stop" "$(jq -c '{sessions: .sessions, sessions_left}' <<<"$out")"
}

# appliance_rows BMCSIM COUNT: the whole program.
appliance_rows() {
    local count=$2 command begun answer busy server sim other cpu requests
    bench_files
    product_image >/dev/null
    # Filled without BMCs to speak to: what counts is the start with machines that are known.
    sim_down
    mapfile -t command < <(product_command "$RUN/bmc-state")
    command+=(--operation-max-concurrent-machines "$count" --bmc-poll-interval 60s)
    server_start appliance "${command[@]}"
    product_ready
    (ip netns exec $SERVER_NS "$GENERATOR" fill --kubeconfig "$RUN/bmc-state/kubeconfig" --machines "$count" --first "$LEASES_FIRST" \
        --gateway $SERVER_IP --bmcs "$CLIENTS_FIRST:$BMC_PORT") >"$RUN/fill.json"
    product_settled
    server_stop
    sim_up "$1" "$count"
    step "the whole appliance, $count machines with BMCs"
    server_start appliance "${command[@]}"
    begun=$(($(date +%s%N) / 1000))
    answer=$(generator bmc-sessions --admin "$ADMIN" --bmcs "$count" --limit-s 120)
    product_ready
    row "connect to $count BMCs" "$(jq -c --argjson begun "$begun" '{s_min: .seconds, s_from_start: ((.last_login_us - $begun) / 1000000)}' <<<"$answer")"
    product_settled
    busy=$(busy_us) server=$(server_cpu_us) sim=$(sim_cpu_us) begun=$(($(date +%s%N) / 1000000))
    requests=$(fleet_requests)
    sleep 60
    cpu=$(($(server_cpu_us) - server)) requests=$(($(fleet_requests) - requests)) other=$(others "$busy" "$server" "$sim" "$begun")
    row 'no operation, 60 s, rounds included' "$(jq -cn --argjson cpu $cpu --argjson requests $requests --argjson rss "$(server_rss_mb)" --argjson other "$other" \
        '{cpu_percent: ($cpu / 600000), readings: $requests, cpu_us_each: (if $requests > 0 then $cpu / $requests else null end), rss_mb: $rss, other: $other}')"
    busy=$(busy_us) server=$(server_cpu_us) sim=$(sim_cpu_us) begun=$(($(date +%s%N) / 1000000))
    answer=$(in_server_ns "$GENERATOR" bmc-cycle --kubeconfig "$RUN/bmc-state/kubeconfig" --admin "$ADMIN")
    cpu=$(($(server_cpu_us) - server)) other=$(others "$busy" "$server" "$sim" "$begun")
    row "power cycle of $count machines, $((POWER_MS / 1000)) s each way" "$(jq -c --argjson cpu $cpu --argjson rss "$(server_rss_mb)" --argjson other "$other" \
        '{s_min: .seconds, all_on_s, complete, exact_off_on: .exact, requests_each: (.requests / .machines), cpu_ms_each: ($cpu / 1000 / .machines),
          rss_mb: $rss, other: $other}' <<<"$answer")"
    server_stop
    answer=$(ip netns exec $CLIENT_NS curl -fs "$ADMIN/counters")
    row 'stop' "$(jq -c '{sessions_left, locked_accounts}' <<<"$answer")"
}

# The driver's own watcher is no part of what is measured: it has the generator's processor and group.
in_server_ns() { (in_cgroup generator ip netns exec $SERVER_NS taskset -c $GENERATOR_CPU "$@" 8>&-); }

fleet_requests() { ip netns exec $CLIENT_NS curl -fs "$ADMIN/counters" | jq .total.requests; }
