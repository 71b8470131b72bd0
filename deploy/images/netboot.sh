# shellcheck shell=bash
# The netboot image: what firmware, shim and GRUB ask for, and an initrd whose /init is our installer.
# All programs in it come signed from Debian; the configuration of GRUB is a template that metalman renders per machine.

# Whole driver directories: a machine's disk controller and NIC are not known here.
INITRD_DRIVERS=(drivers/virtio drivers/nvme/host drivers/ata drivers/scsi drivers/message drivers/net/ethernet drivers/net/phy)
INITRD_MODULES=(virtio_blk virtio_net virtio_scsi virtio_rng sd_mod sr_mod usb_storage uas xhci_pci ehci_pci mmc_block
    ext4 vfat nls_ascii nls_cp437 nls_utf8 efivarfs loop bonding vmxnet3 hv_netvsc hv_storvsc xen_netfront xen_blkfront
    crc32c_generic crc32c_intel libcrc32c)
# Debian's signed GRUB has almost all it needs inside; http is what it fetches, the rest serves a GRUB that has less.
GRUB_MODULES=(http net efinet tftp chain part_gpt part_msdos fat ext2 search search_fs_file search_label search_fs_uuid
    linux serial terminal echo sleep test regexp normal minicmd reboot halt)

netboot_inputs() {
    script_texts netboot.sh
    boot_packages
    sha256sum <"$agent"
    (cd "$REPO" && sha256sum templates/boot/*.j2 templates/cloud-init/*.j2 2>/dev/null) || true
}

build_netboot() {
    local work=$1 disk=$1/tree/disk root=$1/root kernel file
    fetch_boot_packages "$work"
    kernel=$(ls "$root/lib/modules")
    mkdir -p "$disk/grub/x86_64-efi" "$disk/cloud-init"
    cp "$root/usr/lib/shim/shimx64.efi.signed" "$disk/shimx64.efi"
    cp "$root/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed" "$disk/grubx64.efi"
    cp "$root/boot/vmlinuz-$kernel" "$disk/vmlinuz"
    cp "$root"/usr/lib/grub/x86_64-efi/*.lst "$disk/grub/x86_64-efi/"
    grub_modules "$root/usr/lib/grub/x86_64-efi" "$disk/grub/x86_64-efi"
    for file in "$REPO"/templates/boot/*.j2; do [ ! -f "$file" ] || cp "$file" "$disk/grub/"; done
    for file in "$REPO"/templates/cloud-init/*.j2; do [ ! -f "$file" ] || cp "$file" "$disk/cloud-init/"; done
    [ -f "$disk/grub/grub.cfg.j2" ] || warn "templates/boot/grub.cfg.j2 is not there: machines will stop at the GRUB prompt"
    printf 'dhcpBootImageName: shimx64.efi\nhttpBootPath: shimx64.efi\n' >"$disk/metadata.yaml"
    make_initrd "$root" "$kernel" "$disk/initrd"
    oci_layout "$work/tree" "$work/layout" "metalman netboot, Linux $kernel"
}

# grub_modules FROM TO: the modules above and what moddep.lst says they need.
grub_modules() {
    local name wanted=("${GRUB_MODULES[@]}") next
    while [ ${#wanted[@]} -gt 0 ]; do
        next=()
        for name in "${wanted[@]}"; do
            [ ! -e "$2/$name.mod" ] && [ -e "$1/$name.mod" ] || continue
            cp "$1/$name.mod" "$2/"
            read -r -a deps < <(sed -n "s/^$name: *//p" "$1/moddep.lst") || true
            next+=("${deps[@]}")
        done
        wanted=("${next[@]}")
    done
}

# make_initrd ROOT KERNEL OUT: /init, plain .ko files and depmod's tables. No shell, no other program.
make_initrd() {
    local root=$1 kernel=$2 tree=$1.initrd module
    mkdir -p "$tree"/{dev,proc,sys,run,tmp,mnt,etc,root} "$tree/lib/modules/$kernel"
    install -m 755 "$agent" "$tree/init"
    depmod -b "$root" "$kernel"
    while read -r module; do
        mkdir -p "$tree/$(dirname "$module")"
        case $module in
        *.xz) xz -dc "$root/$module" >"$tree/${module%.xz}" ;;
        *.zst) zstd -qdc "$root/$module" >"$tree/${module%.zst}" ;;
        *) cp "$root/$module" "$tree/$module" ;;
        esac
    done < <(wanted_modules "$root" "$kernel")
    cp "$root/lib/modules/$kernel"/modules.{builtin,builtin.modinfo,order} "$tree/lib/modules/$kernel/"
    depmod -b "$tree" "$kernel"
    rm -f "$tree/lib/modules/$kernel"/*.bin
    find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$tree" && find . -print0 | sort -z | cpio --quiet -0 -o -H newc -R 0:0 --reproducible | zstd -q -12 -T0) >"$3"
}

# wanted_modules ROOT KERNEL: paths relative to ROOT of the drivers above with all that they depend on.
wanted_modules() {
    local root=$1 kernel=$2 directory
    {
        for directory in "${INITRD_DRIVERS[@]}"; do
            find "$root/lib/modules/$kernel/kernel/$directory" -name '*.ko*' -printf '%f\n' 2>/dev/null || true
        done
        printf '%s\n' "${INITRD_MODULES[@]}"
    } | sed 's/\.ko.*//' | sort -u | xargs modprobe -d "$root" -S "$kernel" -a -D 2>/dev/null |
        sed -n "s#^insmod $root/\([^ ]*\).*#\1#p" | sort -u
}
