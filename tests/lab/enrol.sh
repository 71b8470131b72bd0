# shellcheck shell=bash
# Puts Secure Boot keys into a machine's firmware as a person with a USB stick would: the firmware itself reads the .auth
# files, checks their signatures and keeps the keys. Sourced by lab tests, after harness.sh; needs no lab.

# The shell inside OVMF sets variables from files of `dmpstore` (UEFI Shell 2.2 section 5.3): sizes, name, vendor,
# attributes, content, CRC-32. The content of a variable with authentication is the .auth file as it is.
GLOBAL_VENDOR='\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c'
DB_VENDOR='\xcb\xb2\x19\xd7\x3a\x3d\x96\x45\xa3\xbc\xda\xd0\x0e\x67\x65\x6f'
# Non-volatile, boot and run time, authenticated by time.
AUTHENTICATED='\x27\x00\x00\x00'

little_endian() { printf '%b' "$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24)))"; }

# dump VARIABLE AUTH-FILE OUT
dump() {
    local name=$3.name vendor=$GLOBAL_VENDOR
    [ "$1" != db ] || vendor=$DB_VENDOR
    printf '%s\0' "$1" | iconv -t UTF-16LE >"$name"
    {
        little_endian "$(stat -c %s "$name")"
        little_endian "$(stat -c %s "$2")"
        cat "$name"
        printf '%b' "$vendor$AUTHENTICATED"
        cat "$2"
    } >"$3"
    rm "$name"
    # gzip ends with the CRC-32 of what it packed, and the length.
    gzip -c "$3" | tail -c 8 | head -c 4 >"$3.crc"
    cat "$3.crc" >>"$3" && rm "$3.crc"
}

# stick IMAGE FILE [PATH]: a disk with a FAT file system and this file, at PATH.
stick() {
    truncate -s 64M "$1"
    mkfs.vfat -F 32 "$1" >/dev/null
    mmd -i "$1" ::/EFI ::/EFI/BOOT
    mcopy -i "$1" "$2" "::/${3:-}"
}

# start_firmware VARIABLES LOG SECONDS PATTERN STICK…: a machine with these firmware variables and sticks, until its console
# says PATTERN or it is off.
start_firmware() {
    local vars=$1 log=$2 limit=$((SECONDS + $3)) pattern=$4 pid number=0 disks=() stick
    shift 4
    for stick in "$@"; do
        disks+=(-drive "if=none,id=stick$number,format=raw,file=$stick" -device "virtio-blk-pci,drive=stick$number,bootindex=$number")
        number=$((number + 1))
    done
    : >"$log"
    qemu-system-x86_64 -machine q35 -accel tcg -cpu max -m 512 -display none -monitor none -serial "file:$log" -no-reboot -net none \
        -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd -drive "if=pflash,format=raw,file=$vars" \
        "${disks[@]}" </dev/null >"$log.qemu" 2>&1 &
    pid=$!
    until grep -aqE -- "$pattern" "$log"; do
        kill -0 "$pid" 2>/dev/null || break
        ((SECONDS < limit)) || break
        sleep 0.5
    done
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    grep -aqE -- "$pattern" "$log" || { tail -n 20 "$log" "$log.qemu" >&2 && die "the firmware does not say within its time: $pattern"; }
}

# console LOG: what was on it, without colours and places.
console() { tr -d '\r' <"$1" | sed 's/\x1b\[[0-9;?=]*[a-zA-Z]//g'; }

# signed_by KEYS IN OUT: a loader with the signature of these keys and no other.
signed_by() {
    cp "$2" "$3"
    sbattach --remove "$3" >/dev/null
    sbsign --key "$1/db.key" --cert "$1/db.pem" --output "$3" "$3" 2>/dev/null
}

# enrol_and_start WORK GRUB: keys made now go into firmware in setup mode; then it starts GRUB signed with them, and neither GRUB
# signed by another site nor an update that was tampered with.
enrol_and_start() {
    local work=$1 grub=$2 variable startup took refused='dmpstore: Failed to set variable db: Security Violation.'
    local keys=$work/keys
    mkdir -p "$work"
    metalman secureboot init --dir "$keys" --site enrolment >/dev/null
    metalman secureboot init --dir "$work/foreign" --site foreign >/dev/null
    # The platform key first: from then on the firmware checks that KEK.auth is signed by PK, and db.auth by KEK.
    startup='@echo -off\r\nfs0:\r\n'
    for variable in PK KEK tampered foreign db; do startup+="echo enrolling $variable\r\ndmpstore -all -l $variable.dmp\r\n"; done
    printf '%b' "${startup}echo enrolled all\r\nreset -s\r\n" >"$work/startup.nsh"
    for variable in PK KEK db; do dump $variable "$keys/$variable.auth" "$work/$variable.dmp"; done
    dump db "$work/foreign/db.auth" "$work/foreign.dmp"
    # The first byte of the certificate that db would have, behind time, signature and the heads of list and entry.
    cp "$keys/db.auth" "$work/tampered.auth"
    printf '\xff' | dd of="$work/tampered.auth" bs=1 seek=$(($(stat -c %s "$keys/db.auth") - $(stat -c %s "$keys/db.crt"))) conv=notrunc status=none
    dump db "$work/tampered.auth" "$work/tampered.dmp"
    stick "$work/keys.img" "$work/startup.nsh"
    mcopy -i "$work/keys.img" "$work"/{PK,KEK,tampered,foreign,db}.dmp ::/
    cp /usr/share/OVMF/OVMF_VARS_4M.fd "$work/vars.fd"
    start_firmware "$work/vars.fd" "$work/enrol.log" 240 'enrolled all' "$work/keys.img"
    took=$(console "$work/enrol.log" | grep -aE '^enrolling|Failed to set')
    say "$took"
    [ "$took" = "$(printf '%s\n' 'enrolling PK' 'enrolling KEK' 'enrolling tampered' "$refused" 'enrolling foreign' "$refused" 'enrolling db')" ] ||
        die "the firmware does not take PK, KEK and db, or takes a db that our KEK did not sign"

    signed_by "$keys" "$grub" "$work/own.efi"
    signed_by "$work/foreign" "$grub" "$work/foreign.efi"
    stick "$work/foreign.img" "$work/foreign.efi" EFI/BOOT/BOOTX64.EFI
    stick "$work/own.img" "$work/own.efi" EFI/BOOT/BOOTX64.EFI
    start_firmware "$work/vars.fd" "$work/start.log" 240 'metalman: GRUB of the site' "$work/foreign.img" "$work/own.img"
    console "$work/start.log" | grep -aE '^BdsDxe|^metalman:|GRUB of the site'
    console "$work/start.log" | grep -aqE 'Pci\(0x2,0x0\): Access Denied' || die "the firmware does not refuse GRUB signed by another site"
}
