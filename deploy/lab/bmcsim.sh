# shellcheck shell=bash
# The machines: their disks, and what bmcsim is told about them and their BMCs.

OVMF_CODE=/usr/share/OVMF/OVMF_CODE_4M.fd
OVMF_VARS=/usr/share/OVMF/OVMF_VARS_4M.fd

# make_machine N: an empty sparse disk; an earlier one is kept.
make_machine() {
    local disk
    disk=$(node_disk "$1")
    [ -e "$disk" ] || truncate -s "$DISK_SIZE" "$disk"
}

# write_bmcsim_config N
write_bmcsim_config() {
    local i name
    for ((i = 1; i <= $1; i++)); do
        name=$(node_name "$i")
        cat <<EOF
[[machine]]
name = "$name"
listen = "$(node_bmc_ip "$i"):443"
username = "admin"
password_file = "$LAB/bmc/password"
uuid = "$(node_uuid "$i")"

[machine.qemu]
mac = "$(node_mac "$i")"
tap = "tap$i"
disk = "$(node_disk "$i")"
disk_serial = "$(node_serial "$i")"
memory_mib = ${METALMAN_LAB_MEMORY:-1024}
firmware_code = "$OVMF_CODE"
firmware_vars = "$OVMF_VARS"
serial_log = "$(node_console "$i")"
state_dir = "$LAB/bmc/$name"

EOF
    done >"$LAB/bmcsim.toml"
}
