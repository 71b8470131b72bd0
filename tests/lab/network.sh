# shellcheck shell=bash
# What surrounds a rack in real life: another segment behind a relay, a foreign DHCP server, a line that loses packets.
# Sourced by lab tests, after harness.sh. Everything lives in namespaces beside the lab's, and ends with `surroundings_down`.

ROUTER=$METALMAN_LAB_NAME-router
ROGUE=$METALMAN_LAB_NAME-rogue
surrounding_pids=()

# join NAMESPACE NIC BRIDGE ADDRESS: a NIC of NAMESPACE (made if need be) on a bridge of the lab.
join() {
    [ -e "/run/netns/$1" ] || ip netns add "$1"
    ip -n "$1" link set lo up
    ip -n "$METALMAN_LAB_NAMESPACE" link add "v-$2" type veth peer name "$2" netns "$1"
    ip -n "$METALMAN_LAB_NAMESPACE" link set "v-$2" master "$3" up
    ip -n "$1" address add "$4" dev "$2"
    ip -n "$1" link set "$2" up
}

# beside NAMESPACE NAME CMD…: runs CMD there in the background, with a log among the lab's.
beside() {
    local namespace=$1 name=$2
    shift 2
    ip netns exec "$namespace" "$@" </dev/null >"$METALMAN_LAB_DIR/log/$name.log" 2>&1 &
    surrounding_pids+=($!)
}

# second_segment TAP: moves a machine's tap into a segment 10.78.0.0/24 of its own, behind a router that relays DHCP.
second_segment() {
    ip -n "$METALMAN_LAB_NAMESPACE" link add br1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
    ip -n "$METALMAN_LAB_NAMESPACE" link set br1 up
    ip -n "$METALMAN_LAB_NAMESPACE" link set "$1" master br1
    join "$ROUTER" uplink br0 10.77.0.254/24
    join "$ROUTER" segment br1 10.78.0.1/24
    ip netns exec "$ROUTER" sysctl -qw net.ipv4.ip_forward=1
    ip -n "$METALMAN_LAB_NAMESPACE" route add 10.78.0.0/24 via 10.77.0.254
    beside "$ROUTER" relay dhcrelay -4 -d -id segment -iu uplink 10.77.0.1
}

# rogue_server [DNSMASQ-OPTION…]: a DHCP server nobody asked for, on the machines' segment.
rogue_server() {
    [ -e "/run/netns/$ROGUE" ] || join "$ROGUE" rogue br0 10.77.0.250/24
    beside "$ROGUE" rogue dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --interface=rogue --bind-interfaces \
        --no-ping --dhcp-range=10.77.0.200,10.77.0.220,10m --dhcp-leasefile="$scratch/rogue.leases" --log-dhcp \
        --log-facility=- --pid-file= "$@"
}
# site_server: the DHCP server of a site that gives the machines their addresses itself, and metalman as next server to the
# first only.
site_server() {
    [ -e "/run/netns/$ROGUE" ] || join "$ROGUE" rogue br0 10.77.0.250/24
    cat >"$scratch/dhcpd.conf" <<EOF
authoritative;
subnet 10.77.0.0 netmask 255.255.255.0 { option routers 10.77.0.1; }
host node-1 { hardware ethernet $NODE_1_MAC; fixed-address 10.77.0.11; next-server 10.77.0.1; }
host node-2 { hardware ethernet $NODE_2_MAC; fixed-address 10.77.0.12; }
EOF
    : >"$scratch/dhcpd.leases"
    beside "$ROGUE" site dhcpd -4 -f -d -cf "$scratch/dhcpd.conf" -lf "$scratch/dhcpd.leases" --no-pid rogue
}
# The server of either kind that was started last.
rogue_down() {
    kill "${surrounding_pids[-1]}" && wait "${surrounding_pids[-1]}" 2>/dev/null || true
    unset 'surrounding_pids[-1]'
}

# lose PERCENT TAP: that share of what goes to a machine, and of what comes from it, is lost.
lose() {
    in_lab nft -f - <<EOF
table netdev loss {
    chain from { type filter hook ingress device "$2" priority 0; policy accept; numgen random mod 1000 < $(($1 * 10)) counter drop; }
    chain to { type filter hook egress device "$2" priority 0; policy accept; numgen random mod 1000 < $(($1 * 10)) counter drop; }
}
EOF
}
# lost: how many packets were.
lost() { in_lab nft list table netdev loss | grep -o 'packets [0-9]*' | awk '{sum += $2} END {print sum}'; }
lose_no_more() { in_lab nft delete table netdev loss; }

surroundings_down() {
    local pid
    for pid in "${surrounding_pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for namespace in "$ROUTER" "$ROGUE"; do [ ! -e "/run/netns/$namespace" ] || ip netns delete "$namespace"; done
}
finish_more() { surroundings_down; }
