# shellcheck shell=bash
# What every script below deploy/ and tests/ leans on: messages, root, Debian packages.
# It is sourced, never run. It knows nothing of metalman.

say() { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
# die WHY. With METALMAN_REASONS set, the reason is kept there, too, for whoever runs us and sums up at the end.
die() {
    printf 'error: %s\n' "$*" >&2
    [ -z "${METALMAN_REASONS:-}" ] || printf '%s: %s\n' "${0##*/}" "$*" >>"$METALMAN_REASONS" 2>/dev/null || true
    exit 1
}

# require_root WHY SCRIPT [ARG…]: returns when we are root; otherwise says why once and starts SCRIPT again by sudo.
require_root() {
    local why=$1
    shift
    [ "$(id -u)" = 0 ] && return
    command -v sudo >/dev/null || die "$1 needs root ($why), and sudo is not installed: run it as root"
    say "This needs root: $why. Asking sudo once."
    local keep=() name
    while read -r name; do keep+=("$name=${!name}"); done < <(compgen -e | grep -E '^(METALMAN_|UNBOUNDED_|CARGO_|RUSTUP_|KUBEBUILDER_ASSETS$|XDG_STATE_HOME$|TERM$|[a-z]+_proxy$|SSL_CERT_)')
    exec sudo -- env "PATH=$PATH" "HOME=$HOME" "${keep[@]}" "$@"
}

# as_user CMD…: runs CMD as the person who called sudo, so that what it writes belongs to them.
as_user() {
    if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then
        sudo -u "$SUDO_USER" -- env "PATH=$PATH" "HOME=$HOME" "$@"
    else
        "$@"
    fi
}

# give_to_user PATH…: hands files made by root to the person who called sudo.
give_to_user() {
    [ -z "${SUDO_UID:-}" ] || chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$@"
}

# need_cargo: the Rust toolchain is the one thing that Debian does not bring in the version we pin.
need_cargo() {
    command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin
    command -v cargo >/dev/null || die "cargo is not on PATH: install rustup (https://rustup.rs), it then picks the version in rust-toolchain.toml"
}

missing_packages() {
    local name
    for name; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || printf '%s\n' "$name"
    done
}

# install_packages NAME…: installs the Debian packages that are absent. No daemon is started.
install_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "Debian packages are missing: run as root, or first: apt-get install ${missing[*]}"
    step "installing ${#missing[@]} Debian packages: ${missing[*]}"
    (
        exec 9>/run/lock/metalman-packages.lock
        flock 9
        if [ ! -e /usr/sbin/policy-rc.d ]; then
            trap 'rm -f /usr/sbin/policy-rc.d' EXIT
            printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
            chmod 755 /usr/sbin/policy-rc.d
        fi
        apt_install "${missing[@]}"
    )
}

apt_install() {
    local log codename
    log=$(mktemp)
    apt_get update >"$log" 2>&1 || warn "apt-get update: $(tail -n 1 "$log")"
    if ! apt_get install -y --no-install-recommends "$@" >"$log" 2>&1; then
        # A newer qemu-utils (from backports) pins qemu-system-x86 out of reach; Debian's own version of it does as well.
        codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
        if ! grep -q qemu <<<"$*" ||
            ! apt_get install -y --no-install-recommends --allow-downgrades "$@" "qemu-utils/$codename" >"$log" 2>&1; then
            tail -n 20 "$log" >&2
            rm -f "$log"
            die "apt-get could not install: $*"
        fi
    fi
    rm -f "$log"
}

apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 "$@"; }
