# shellcheck shell=bash
# What bmcsim is told about the machines and their BMCs. It makes disks, NVRAM and certificates itself.

# write_bmcsim_config N
write_bmcsim_config() {
    local i name
    {
        printf 'admin = "127.0.0.1:8099"\nstate_dir = "%s"\n' "$LAB/bmc"
        for ((i = 1; i <= $1; i++)); do
            name=$(node_name "$i")
            cat <<EOF

[[bmc]]
name = "$name"
listen = "$(node_bmc_ip "$i"):443"
user = "admin"
password_file = "$LAB/bmc/password"
system_id = "$name"

[bmc.qemu]
uuid = "$(node_uuid "$i")"
mac = "$(node_mac "$i")"
tap = "tap$i"
memory_mib = ${METALMAN_LAB_MEMORY:-1024}
disks = [{ path = "$(node_disk "$i")", serial = "$(node_serial "$i")", size_mib = $DISK_MIB }]
serial_log = "$(node_console "$i")"
firmware_vars = "$(node_firmware_vars "$i")"
tpm = ${METALMAN_LAB_TPM:-false}
EOF
        done
    } >"$LAB/bmcsim.toml"
}
