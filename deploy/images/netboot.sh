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

# What our own GRUB has inside: under Secure Boot it can load no module, so all that the template uses and HTTP.
SITE_GRUB_MODULES=(normal configfile memdisk tar echo test true linux chain boot net efinet tftp http search
    search_fs_file search_fs_uuid search_label minicmd reboot halt sleep regexp serial terminal part_gpt part_msdos fat ext2
    tpm gzio smbios progress eval)
# How it calls itself in its SBAT section; the generations of its upstreams are read from Debian's signed GRUB.
SITE_SBAT='grub.metalman,1,metalman site build,grub2,1,https://www.gnu.org/software/grub/'

netboot_inputs() {
    script_texts netboot.sh
    boot_packages
    sha256sum <"$agent"
    (cd "$REPO" && sha256sum templates/boot/*.j2 templates/cloud-init/*.j2 2>/dev/null) || true
}

# The same image with a GRUB that has HTTP, signed with the site's key.
netboot_site_inputs() {
    netboot_inputs
    script_texts grub-site.cfg
    dpkg-query -W -f='${Version}\n' grub-common sbsigntool
    cat "$keys/db.pem"
    echo "${METALMAN_IMAGE_HTTP_PORT:-8880}"
}

build_netboot_site() {
    build_netboot_tree "$1"
    site_grub "$1" "$1/tree/disk/grubx64.efi"
    oci_layout "$1/tree" "$1/layout" "metalman netboot with the site's GRUB, Linux $(ls "$1/root/lib/modules")"
}

# site_grub WORK OUT: grub-mkimage, then sbsign. The modules are those of the packages in WORK, not of this machine.
site_grub() {
    local work=$1 root=$1/root
    # Debian's generations hold for its modules too: same source, same patches.
    sbat_of "$root/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed" >"$work/sbat.csv"
    grep -q '^grub,' "$work/sbat.csv" || die "Debian's signed GRUB has no SBAT section"
    printf '%s\n' "$SITE_SBAT" >>"$work/sbat.csv"
    printf 'normal (memdisk)/grub.cfg\n' >"$work/embedded.cfg"
    sed "s/@HTTP_PORT@/${METALMAN_IMAGE_HTTP_PORT:-8880}/" grub-site.cfg >"$work/grub.cfg"
    tar -C "$work" --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=644 --format=ustar \
        -cf "$work/memdisk.tar" grub.cfg
    grub-mkimage -O x86_64-efi -d "$root/usr/lib/grub/x86_64-efi" -p /grub -c "$work/embedded.cfg" -m "$work/memdisk.tar" \
        --sbat "$work/sbat.csv" -o "$work/grub.efi" "${SITE_GRUB_MODULES[@]}"
    sbsign --key "$keys/db.key" --cert "$keys/db.pem" --output "$2" "$work/grub.efi" 2>"$work/sbsign.log" ||
        { cat "$work/sbsign.log" >&2 && die "sbsign failed"; }
    sbverify --cert "$keys/db.pem" "$2" >/dev/null || die "the signature of the site's GRUB does not verify"
}

# sbat_of EFI-FILE: the text of its .sbat section.
sbat_of() {
    local section
    section=$(mktemp)
    objcopy -O binary --only-section=.sbat "$1" "$section"
    tr -d '\0' <"$section"
    rm -f "$section"
}

build_netboot() {
    build_netboot_tree "$1"
    oci_layout "$1/tree" "$1/layout" "metalman netboot, Linux $(ls "$1/root/lib/modules")"
}

build_netboot_tree() {
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
