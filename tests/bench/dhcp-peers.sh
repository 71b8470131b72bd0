# shellcheck shell=bash
# Configurations of the peers for N fixed hosts: the machines of dhcp.rs, in each server's own words. Sourced by the suite.

# hosts N: hardware address, IPv4 address and name, one host a line.
hosts() {
    awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++) {
        a = 198 * 16777216 + 18 * 65536 + 16 * 256 + i; m = 12 * 4294967296 + 16909060 + i
        printf "00:%02x:%02x:%02x:%02x:%02x %d.%d.%d.%d node%06d\n", int(m / 4294967296) % 256, int(m / 16777216) % 256,
            int(m / 65536) % 256, int(m / 256) % 256, m % 256, int(a / 16777216), int(a / 65536) % 256, int(a / 256) % 256, a % 256, i } }'
}

# kea_config N DIR persist|memory
kea_config() {
    local persist=false
    [ "$3" = memory ] || persist=true
    hosts "$1" | jq -Rnc --arg dir "$2" --argjson persist $persist '
        [inputs | split(" ") | {"hw-address": .[0], "ip-address": .[1], hostname: .[2]}] as $hosts |
        {Dhcp4: {"interfaces-config": {interfaces: ["mmb0"], "dhcp-socket-type": "udp"},
          "lease-database": {type: "memfile", persist: $persist, name: "\($dir)/kea.leases", "lfc-interval": 0},
          "multi-threading": {"enable-multi-threading": false},
          "valid-lifetime": 86400, "renew-timer": 43200, "rebind-timer": 75600, "host-reservation-identifiers": ["hw-address"],
          subnet4: [{id: 1, subnet: "198.18.0.0/15", pools: [], "reservations-global": false, "reservations-in-subnet": true,
            "reservations-out-of-pool": true, "next-server": "198.18.0.1", "boot-file-name": "shimx64.efi",
            "option-data": [{name: "routers", data: "198.18.0.1"}, {name: "domain-name-servers", data: "198.18.0.1"}],
            reservations: $hosts}],
          loggers: [{name: "kea-dhcp4", severity: "ERROR", output_options: [{output: "\($dir)/kea.log"}]}]}}' >"$2/kea.json"
}

# isc_config N DIR
isc_config() {
    {
        cat <<CONF
authoritative; default-lease-time 86400; max-lease-time 86400; ddns-update-style none; log-facility local7;
option domain-name-servers 198.18.0.1; next-server 198.18.0.1; filename "shimx64.efi";
subnet 198.18.0.0 netmask 255.254.0.0 { option routers 198.18.0.1; }
CONF
        hosts "$1" | awk '{ printf "host %s { hardware ethernet %s; fixed-address %s; }\n", $3, $1, $2 }'
    } >"$2/dhcpd.conf"
    : >"$2/dhcpd.leases"
}

# dnsmasq_config N DIR: without its lease file, which it would write and sync for every client.
dnsmasq_config() {
    {
        cat <<CONF
port=0
interface=mmb0
bind-interfaces
dhcp-range=198.18.0.0,static,255.254.0.0,24h
dhcp-option=3,198.18.0.1
dhcp-option=6,198.18.0.1
dhcp-boot=shimx64.efi,,198.18.0.1
dhcp-authoritative
dhcp-lease-max=200000
quiet-dhcp
no-resolv
no-hosts
user=root
log-facility=$2/dnsmasq.log
leasefile-ro
CONF
        hosts "$1" | awk '{ printf "dhcp-host=%s,%s\n", $1, $2 }'
    } >"$2/dnsmasq.conf"
}
