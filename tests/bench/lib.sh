# shellcheck shell=bash
# What the suites share: namespaces, cgroups, servers, rows. Sourced by tests/bench/run, after deploy/prelude.sh.
# Names of everything made here begin with mmb; what the run started is stopped by pid when it ends.

# profile, quick and only are set by tests/bench/run.
# shellcheck disable=SC2154

# Peers that were built, filled state and files outlive a run; the rest of it does not.
BENCH=${METALMAN_BENCH_DIR:-$PWD/target/bench}
SERVER_NS=mmb-server CLIENT_NS=mmb-client
SERVER_IP=198.18.0.1 CLIENT_IP=198.18.0.2
# Client i has the address 198.18.16.0 + i: a local route makes all of them ours without configuring each.
CLIENTS_NET=198.18.16.0/20
# shellcheck disable=SC2034 # used by the suites
CLIENTS_FIRST=198.18.16.0
SERVER_CPU=0 GENERATOR_CPU=1
WEIGHT_V1=65536 WEIGHT_V2=10000
# Real-time priority where we may have it, so that other work on the machine does not add its time slices to every
# round trip; a group of high weight where we may not.
REALTIME=''

GENERATOR='' ROWS='' RUN='' CGROUP='' MEASURED='' SERVER_PID='' SERVER_NAME=''

# built BINARY CARGO-ARG…: builds it, prints its path. METALMAN_BENCH_BIN names a folder of binaries that were built before.
built() {
    local binary=$1
    shift
    if [ -n "${METALMAN_BENCH_BIN:-}" ]; then
        printf '%s' "$METALMAN_BENCH_BIN/$binary"
        return
    fi
    step "building $binary ($profile)" >&2
    as_user cargo build --quiet --locked --profile "$profile" "$@" >&2
    case $* in *--example*) binary=examples/$binary ;; esac
    printf '%s' "$PWD/target/x86_64-unknown-linux-gnu/$profile/$binary"
}

# bench_up SUITE
bench_up() {
    [ "$(nproc)" -ge 2 ] || die "the bench needs two processors, one for servers and one for generators"
    mkdir -p "$BENCH"
    # Namespaces and cgroups have fixed names: one bench at a time on this machine.
    exec 8>/run/lock/metalman-bench.lock
    flock -n 8 || die "another bench runs on this machine"
    install_packages jq iproute2 procps
    GENERATOR=$(built metalman-bench -p metalman-bench)
    RUN=$(mktemp -d "/tmp/mmb-$1.XXXXXX")
    ROWS=$RUN/rows.jsonl
    : >"$ROWS"
    trap bench_down EXIT
    trap 'exit 130' INT TERM
    cgroups_up
    namespaces_up
    ulimit -n "$(ulimit -Hn)"
}

bench_down() {
    server_stop
    namespaces_down
    cgroups_down
    [ -n "${METALMAN_BENCH_KEEP:-}" ] || rm -rf "$RUN"
}

namespaces_up() {
    namespaces_down
    ip netns add $SERVER_NS
    ip netns add $CLIENT_NS
    ip link add mmb0 netns $SERVER_NS type veth peer name mmb1 netns $CLIENT_NS
    ip -n $SERVER_NS link set lo up
    ip -n $CLIENT_NS link set lo up
    ip -n $SERVER_NS addr add $SERVER_IP/15 dev mmb0
    ip -n $CLIENT_NS addr add $CLIENT_IP/15 dev mmb1
    ip -n $SERVER_NS link set mmb0 up
    ip -n $CLIENT_NS link set mmb1 up
    ip -n $CLIENT_NS route add local $CLIENTS_NET dev lo
    # 500 clients, each with an address of its own, are neighbours of the server.
    ip netns exec $SERVER_NS sysctl -qw net.ipv4.neigh.default.gc_thresh1=8192 net.ipv4.neigh.default.gc_thresh2=16384 \
        net.ipv4.neigh.default.gc_thresh3=32768 2>/dev/null || true
    ip netns exec $CLIENT_NS sysctl -qw net.ipv4.ip_local_port_range='1024 65535'
}

namespaces_down() {
    local ns
    for ns in $SERVER_NS $CLIENT_NS; do
        ip netns del "$ns" 2>/dev/null || true
    done
}

# --- cgroups: v1 or v2, whichever has the cpu controller. The server goes into one of its own, where its
# processor time is read, children and packets handled for it included.

cgroups_up() {
    if chrt -f 1 true 2>/dev/null; then REALTIME=yes; fi
    if [ -d /sys/fs/cgroup/cpuacct ]; then
        CGROUP=v1
        mkdir -p /sys/fs/cgroup/cpu/mmb /sys/fs/cgroup/cpuacct/mmb-server
        echo $WEIGHT_V1 >/sys/fs/cgroup/cpu/mmb/cpu.shares
    elif grep -qw cpu /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
        CGROUP=v2
        echo +cpu >/sys/fs/cgroup/cgroup.subtree_control
        mkdir -p /sys/fs/cgroup/mmb-server /sys/fs/cgroup/mmb-generator
        echo $WEIGHT_V2 | tee /sys/fs/cgroup/mmb-server/cpu.weight >/sys/fs/cgroup/mmb-generator/cpu.weight
    else
        die "no cpu cgroup controller below /sys/fs/cgroup"
    fi
}

cgroups_down() {
    rmdir /sys/fs/cgroup/cpuacct/mmb-server /sys/fs/cgroup/cpu/mmb /sys/fs/cgroup/mmb-server /sys/fs/cgroup/mmb-generator 2>/dev/null || true
}

# in_cgroup server|generator CMD…: becomes CMD.
in_cgroup() {
    local which=$1
    shift
    case $CGROUP in
    v1)
        # Without a budget of its own a v1 group may not have real-time tasks; the root group may.
        [ -n "$REALTIME" ] || echo $BASHPID >/sys/fs/cgroup/cpu/mmb/cgroup.procs
        [ "$which" = generator ] || echo $BASHPID >/sys/fs/cgroup/cpuacct/mmb-server/cgroup.procs
        ;;
    v2) echo $BASHPID >"/sys/fs/cgroup/mmb-$which/cgroup.procs" ;;
    esac
    [ -z "$REALTIME" ] || set -- chrt -f 1 "$@"
    exec "$@"
}

server_pids() {
    case $CGROUP in
    v1) cat /sys/fs/cgroup/cpuacct/mmb-server/cgroup.procs ;;
    v2) cat /sys/fs/cgroup/mmb-server/cgroup.procs ;;
    esac
}

# Microseconds of processor time the server has used.
server_cpu_us() {
    case $CGROUP in
    v1) echo $(($(cat /sys/fs/cgroup/cpuacct/mmb-server/cpuacct.usage) / 1000)) ;;
    v2) sed -n 's/^usage_usec //p' /sys/fs/cgroup/mmb-server/cpu.stat ;;
    esac
}

# Microseconds all processors were busy.
busy_us() { awk '/^cpu /{printf "%.0f", ($2+$3+$4+$7+$8+$9)*10000}' /proc/stat; }

# Megabytes of all its processes.
server_rss_mb() {
    local pid total=0 kb
    for pid in $(server_pids); do
        kb=$(awk '$1 == "VmRSS:" {print $2}' "/proc/$pid/status" 2>/dev/null || true)
        total=$((total + ${kb:-0}))
    done
    awk -v kb=$total 'BEGIN{printf "%.1f", kb/1024}'
}

# --- servers

# wanted NAME: whether this server takes part.
wanted() { [ -z "$only" ] || [[ ",$only," == *",$1,"* ]]; }

# server_start NAME CMD…: in its namespace, on its processor, in its cgroup. Its log is $RUN/NAME.log.
server_start() {
    local name=$1
    shift
    server_stop
    SERVER_NAME=$name
    (in_cgroup server ip netns exec $SERVER_NS taskset -c $SERVER_CPU "$@" >>"$RUN/$name.log" 2>&1 </dev/null 8>&-) &
    SERVER_PID=$!
    # A server that is killed is no news.
    disown "$SERVER_PID"
}

server_stop() {
    local signal pid tries
    [ -n "$SERVER_PID" ] || return 0
    for signal in TERM KILL; do
        for pid in $(server_pids); do kill -$signal "$pid" 2>/dev/null || true; done
        for ((tries = 0; tries < 50; tries++)); do
            [ -n "$(server_pids)" ] || break 2
            sleep 0.1
        done
    done
    SERVER_PID=''
}

# server_kill: as if the machine had been switched off.
server_kill() {
    local pid
    for pid in $(server_pids); do kill -KILL "$pid" 2>/dev/null || true; done
    while [ -n "$(server_pids)" ]; do sleep 0.002; done
    SERVER_PID=''
}

# generator ARG…: in the clients' namespace, on their processor.
generator() {
    (in_cgroup generator ip netns exec $CLIENT_NS taskset -c $GENERATOR_CPU "$GENERATOR" "$@" 8>&-)
}

# measured FILTER ARG…: runs the generator and leaves in $MEASURED what the jq FILTER makes of its output, which has
# .server_cpu_us, .generator_cpu_us, .other (cores used by others) and .rss_mb in addition.
measured() {
    local filter=$1 cpu busy own out
    shift
    cpu=$(server_cpu_us) busy=$(busy_us)
    own=$(awk '{printf "%.0f", $1*1000000}' /proc/uptime)
    out=$(TIMEFORMAT='%U %S' && { time generator "$@" 2>"$RUN/generator.err"; } 2>"$RUN/generator.time") ||
        out=$(jq -n --arg why "$(tail -n 1 "$RUN/generator.err")" '{error: $why}')
    own=$(($(awk '{printf "%.0f", $1*1000000}' /proc/uptime) - own))
    cpu=$(($(server_cpu_us) - cpu)) busy=$(($(busy_us) - busy))
    # shellcheck disable=SC2034 # read by the suites
    MEASURED=$(jq -c --argjson cpu $cpu --argjson busy "$busy" --argjson wall $((own > 0 ? own : 1)) \
        --argjson gen "$(awk '{printf "%.0f", ($1+$2)*1000000}' "$RUN/generator.time")" --argjson rss "$(server_rss_mb)" \
        ". + {server_cpu_us: \$cpu, generator_cpu_us: \$gen, wall_us: \$wall, rss_mb: \$rss, other: ([0, (\$busy - \$cpu - \$gen) / \$wall] | max)} | $filter" <<<"$out")
}

# row TITLE FIGURES [NOTE]: one line of the result. A figure whose name ends in _max or _min is compared.
row() {
    jq -cn --arg row "$1" --arg server "$SERVER_NAME" --argjson figures "$2" --arg note "${3:-}" \
        '{row: $row, server: $server, figures: $figures, note: $note}' >>"$ROWS"
    printf '  %-12s %-34s %s\n' "$SERVER_NAME" "$1" "$(jq -r 'to_entries | map("\(.key | sub("_(max|min)$"; "")) \(.value | if type == "number" then (. * 100 | round / 100) else . end)") | join("  ")' <<<"$2") ${3:-}"
}

# median OF FIELD: the middle of several JSON objects by this field.
median() { jq -cs --arg field "$1" 'sort_by(.[$field]) | .[(length - 1) / 2 | floor]'; }
