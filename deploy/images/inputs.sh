# shellcheck shell=bash
# What the images are made of, as text that is hashed into the cache key, and how it is fetched.
# Versions are those of this machine's own apt lists; no mirror is named here.

HOST_PACKAGES=(
    systemd systemd-sysv systemd-resolved systemd-container dbus udev kmod
    cloud-init iproute2 iputils-ping ca-certificates curl
    e2fsprogs util-linux efibootmgr initramfs-tools zstd procps polkitd sudo
)
BOOT_PACKAGES=(shim-signed grub-efi-amd64-signed grub-efi-amd64-bin)

# script_texts PATH…: the scripts and files of this directory that decide what an image looks like.
script_texts() {
    find inputs.sh oci.sh "$@" -type f -print0 | sort -z | xargs -0 sha256sum
    printf '%s\n' "$KERNEL_PACKAGE" "$SOURCE_DATE_EPOCH"
}

# resolved: file name, size and hash of every package that an empty system would install. Remembered for as long as the
# apt lists stay as they are, because apt needs more than a second to think about it.
resolved() {
    local lists memo
    lists=$(find /var/lib/apt/lists /etc/apt -type f -printf '%p %s %T@\n' | sort | sha256sum | cut -c1-16)
    memo=$out/.resolved-$METALMAN_IMAGE_KERNEL-$lists
    if [ ! -s "$memo" ]; then
        [ -n "$(find /var/lib/apt/lists -name '*_Packages*' -print -quit)" ] || apt_get update >&2
        rm -f "$out"/.resolved-*
        apt-get -o Dir::State::status=/dev/null -qq -y --no-install-recommends --print-uris install \
            '?essential' apt "$KERNEL_PACKAGE" "${HOST_PACKAGES[@]}" "${BOOT_PACKAGES[@]}" |
            cut -d' ' -f2- | sort >"$memo.new" || die "apt cannot resolve the packages of the images (see above)"
        mv "$memo.new" "$memo"
    fi
    cat "$memo"
}

# boot_packages: NAME=VERSION of shim, GRUB and the kernel that the meta package stands for.
boot_packages() {
    local file name
    while read -r file _; do
        name=${file%%_*}
        case " ${BOOT_PACKAGES[*]} " in
        *" $name "*) ;;
        *) [[ $name =~ ^linux-image-[0-9] ]] || continue ;;
        esac
        file=${file#*_}
        file=${file%_*}
        printf '%s=%s\n' "$name" "${file/\%3a/:}"
    done < <(resolved)
}

# fetch_boot_packages DIR: unpacks them into DIR (they are not installed on this machine).
fetch_boot_packages() {
    local dir=$1 deb names
    mkdir -p "$dir/debs" "$dir/root"
    mapfile -t names < <(boot_packages)
    [ ${#names[@]} = 4 ] || die "expected shim, two GRUB packages and one kernel, apt offers: ${names[*]}"
    chmod 755 "$dir" "$dir/debs"
    (cd "$dir/debs" && apt_get -o APT::Sandbox::User=root download "${names[@]}" >/dev/null)
    for deb in "$dir"/debs/*.deb; do dpkg-deb -x "$deb" "$dir/root"; done
    # The kernel's tree is /lib/modules in Debian 12 and /usr/lib/modules after it.
    [ ! -d "$dir/root/usr/lib/modules" ] || { mkdir -p "$dir/root/lib" && mv "$dir/root/usr/lib/modules" "$dir/root/lib/"; }
}

# debian_sources: this machine's apt sources of Debian itself, as one-line entries for mmdebstrap.
debian_sources() {
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg option='' lines
    [ ! -f $keyring ] || option="[signed-by=$keyring] "
    lines=$(apt-get indextargets --format '$(CREATED_BY)|$(ORIGIN)|deb '"$option"'$(REPO_URI) $(RELEASE) $(COMPONENT)' |
        sed -n 's/^Packages|Debian|//p' | sort -u)
    [ -n "$lines" ] || die "no Debian source in this machine's apt configuration (apt-get update first?)"
    printf '%s\n' "$lines"
}
