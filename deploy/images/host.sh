# shellcheck shell=bash
# The host image: a small Debian with systemd, cloud-init and systemd-container, written to a disk image (disk.sh).

host_inputs() {
    script_texts host.sh disk.sh host
    resolved
}

build_host() {
    local work=$1
    fetch_boot_packages "$work"
    mkdir -p "$work/memory" "$work/tree/disk"
    # dpkg syncs every file it writes; in memory that costs nothing. The directory order of a tmpfs is the archive's.
    mount -t tmpfs -o size=6g,mode=755 tmpfs "$work/memory"
    TMPDIR=$work/memory make_rootfs "$work/root.tar"
    mkdir "$work/memory/rootfs"
    tar -C "$work/memory/rootfs" --numeric-owner --xattrs --xattrs-include='*' -xf "$work/root.tar"
    make_disk "$work" "$work/memory/rootfs" "$work/disk.img"
    umount "$work/memory"
    zstd -q -5 -T0 "$work/disk.img" -o "$work/tree/disk/disk.img.zst"
    say "raw image $(($(stat -c %s "$work/disk.img") >> 20)) MiB, $(($(stat -c %b "$work/disk.img") * 512 >> 20)) MiB of it used"
    oci_layout "$work/tree" "$work/layout" "metalman host, $(. /etc/os-release && echo "Debian $VERSION_ID")"
}

# make_rootfs TAR: Debian's minimal system plus our packages, from this machine's own sources and with its apt settings.
make_rootfs() {
    local option options=() exclude sources include
    mapfile -t sources < <(debian_sources)
    while read -r option; do options+=("--aptopt=$option"); done < <(
        apt-config dump | grep -E '^Acquire::(http|https|Check|Retries|Max)[^ ]* "..*";$' || true
    )
    for exclude in doc man locale info lintian bash-completion; do options+=("--dpkgopt=path-exclude=/usr/share/$exclude/*"); done
    include=$(IFS=, && echo "$KERNEL_PACKAGE,${HOST_PACKAGES[*]}")
    # shellcheck disable=SC2016 # the hooks are run by mmdebstrap's shell with the root directory as $1
    mmdebstrap --quiet --mode=root --variant=minbase --include="$include" "${options[@]}" \
        --dpkgopt=path-include='/usr/share/doc/*/copyright' \
        --essential-hook='cp -r --no-preserve=ownership host/early/. "$1/"' \
        --customize-hook='cp -r --no-preserve=ownership host/rootfs/. "$1/"' \
        --customize-hook='host/customize "$1"' \
        "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$1" "${sources[@]}"
}
