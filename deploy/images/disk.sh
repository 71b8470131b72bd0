# shellcheck shell=bash
# A raw GPT disk with an EFI system partition and an ext4 root file system.
# No loop device and no vfat mount: sgdisk, mtools and `mke2fs -d` write straight into the file.

DISK_GUID=4d45541a-4c4d-414e-8000-000000000000
ESP_GUID=4d45541a-4c4d-414e-8000-000000000001
ROOT_GUID=4d45541a-4c4d-414e-8000-000000000002
ROOT_UUID=4d45541a-4c4d-414e-8000-000000000003
SECTOR=512
ESP_START=2048
# The smallest FAT32 that all firmware takes for one: more than 65,525 clusters of one sector.
ESP_SECTORS=$((40 * 2048))
# Free room in the root file system of the image; the first boot grows it to the whole disk.
SLACK_MIB=160

# make_disk WORK TREE IMAGE: WORK/root holds the unpacked shim and GRUB packages, TREE becomes the root file system.
make_disk() {
    local work=$1 tree=$2 image=$3 used root_sectors
    # MiB in whole blocks, and the inodes (256 bytes each).
    used=$(($(du -s --block-size=1M "$tree" | cut -f1) + $(find "$tree" | wc -l) / 4096 + 1))
    root_sectors=$(((used * 106 / 100 + 40 + SLACK_MIB) * 2048))
    truncate -s $(((ESP_START + ESP_SECTORS + root_sectors + 2048) * SECTOR)) "$image"
    sgdisk --clear --disk-guid="$DISK_GUID" \
        --new="1:$ESP_START:+$((ESP_SECTORS / 2))K" --typecode=1:ef00 --change-name=1:ESP --partition-guid="1:$ESP_GUID" \
        --new="2:$((ESP_START + ESP_SECTORS)):+$((root_sectors / 2))K" --typecode=2:8304 --change-name=2:root \
        --partition-guid="2:$ROOT_GUID" "$image" >/dev/null
    sgdisk --verify "$image" | grep -q 'No problems found' || { sgdisk --verify "$image" >&2 && return 1; }
    make_esp "$work" "$image@@$((ESP_START * SECTOR))"
    make_root "$tree" "$image" $(((ESP_START + ESP_SECTORS) * SECTOR)) $((root_sectors / 8))
}

# make_esp WORK PARTITION: shim as the removable-media loader, so that the disk starts without any NVRAM entry.
make_esp() {
    local dir=$1/esp
    mkdir -p "$dir/EFI/BOOT" "$dir/EFI/debian"
    cp "$1/root/usr/lib/shim/shimx64.efi.signed" "$dir/EFI/BOOT/BOOTX64.EFI"
    cp "$1/root/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" "$dir/EFI/BOOT/grubx64.efi"
    cp "$dir/EFI/BOOT/BOOTX64.EFI" "$dir/EFI/debian/shimx64.efi"
    cp "$dir/EFI/BOOT/grubx64.efi" "$dir/EFI/debian/grubx64.efi"
    cp host/grub.cfg "$dir/EFI/debian/grub.cfg"
    find "$dir" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
    mformat -i "$2" -F -c 1 -v ESP -N 4D45541A -T "$ESP_SECTORS" ::
    mcopy -s -m -i "$2" "$dir/EFI" ::
}

# make_root TREE IMAGE OFFSET BLOCKS: an ext4 file system at OFFSET bytes, filled from TREE.
make_root() {
    E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -F -t ext4 -b 4096 -L root -U "$ROOT_UUID" \
        -E "offset=$3,root_owner=0:0,hash_seed=$ROOT_UUID,lazy_itable_init=0,lazy_journal_init=0" -J size=16 -m 1 \
        -d "$1" "$2" "$4"
    freeze_inode_times "$2?offset=$3"
}

# freeze_inode_times FILESYSTEM: the two times that come from the unpacking, which no option of this mke2fs fixes.
freeze_inode_times() {
    local used inode
    used=$(dumpe2fs -h "$1" 2>/dev/null | awk -F: '/^Inode count/ {all = $2} /^Free inodes/ {free = $2} END {print all - free}')
    # Inode 2 is the root directory, 11 and above are files; debugfs takes tens of thousands of these in a moment.
    for ((inode = 2; inode <= used; inode++)); do
        [ "$inode" -gt 2 ] && [ "$inode" -lt 11 ] && continue
        printf 'sif <%d> ctime @%s\nsif <%d> atime @%s\n' "$inode" "$SOURCE_DATE_EPOCH" "$inode" "$SOURCE_DATE_EPOCH"
    done | E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH debugfs -w -f - "$1" >/dev/null 2>&1
}
