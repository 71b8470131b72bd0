# shellcheck shell=bash
# The rack's network: a namespace with a bridge, one tap per machine, one address per BMC. No route leads out of it.

# network_up N
network_up() {
    local i
    if ! ns_exists; then
        ip netns add "$NS"
        ip -n "$NS" link set lo up
        ip -n "$NS" link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
        ip -n "$NS" address add "$GATEWAY/24" dev br0
        ip -n "$NS" link set br0 up
        # GRUB leaves its connections half closed and comes back with the same ports at the next boot.
        in_ns sysctl -qw net.ipv4.tcp_orphan_retries=1 net.ipv6.conf.all.disable_ipv6=1
    fi
    for ((i = 1; i <= $1; i++)); do
        ip -n "$NS" address replace "$(node_bmc_ip "$i")/32" dev lo
        ip -n "$NS" link show "tap$i" >/dev/null 2>&1 && continue
        in_ns ip tuntap add dev "tap$i" mode tap
        ip -n "$NS" link set "tap$i" master br0 up
    done
}

# network_down: ends what still runs inside (the namespace is ours alone), then removes it.
network_down() {
    local pids i
    ns_exists || return 0
    for ((i = 0; i < 50; i++)); do
        pids=$(ip netns pids "$NS")
        [ -n "$pids" ] || break
        # shellcheck disable=SC2086 # a list of numbers
        kill "$([ $i -lt 30 ] && echo -TERM || echo -KILL)" $pids 2>/dev/null || true
        sleep 0.1
    done
    ip netns delete "$NS"
}

# forward NAME LOCAL-PORT REMOTE-PORT: 127.0.0.1:LOCAL-PORT of this machine leads to metalman inside the namespace,
# by a UNIX socket, which does not care about namespaces.
forward() {
    local socket=$LAB/run/$1.sock
    if ! is_running "$1-outside" && ss -Hltn "sport = :$2" | grep -q .; then
        die "port $2 on 127.0.0.1 is taken; choose others with METALMAN_LAB_API_PORT and METALMAN_LAB_WEB_PORT"
    fi
    start "$1-inside" ip netns exec "$NS" socat "UNIX-LISTEN:$socket,fork,unlink-early,mode=600" "TCP:$GATEWAY:$3"
    start "$1-outside" socat "TCP-LISTEN:$2,bind=127.0.0.1,fork,reuseaddr" "UNIX-CONNECT:$socket"
}
