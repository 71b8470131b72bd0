# shellcheck shell=bash
# Python programs of others that judge our Redfish, in an environment of their own. Sourced after deploy/prelude.sh.
#
# An address of a CA bundle in the environment overrides "do not check certificates" of Python's requests, and then
# every call of a validator ends in its made-up "HTTP 600", which it counts as a pass in places: so they run without.

VENV=${METALMAN_REDFISH_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/metalman/redfish-venv}
PYTHON_PACKAGES=(redfish-protocol-validator==1.3.2 redfish-use-case-checkers==2.1.1 sushy==5.14.0 sushy-tools==2.2.0)

# need_venv: makes the environment once per set of versions.
need_venv() {
    local wanted="${PYTHON_PACKAGES[*]}"
    [ "$(cat "$VENV/packages" 2>/dev/null)" = "$wanted" ] && return
    install_packages python3 python3-venv
    step "installing into $VENV: $wanted"
    # With the system's packages: the bindings of libvirt come from Debian.
    rm -rf "${VENV:?}"
    as_user /usr/bin/python3 -m venv --system-site-packages "$VENV"
    as_user "$VENV/bin/pip" --quiet --disable-pip-version-check install "${PYTHON_PACKAGES[@]}"
    echo "$wanted" >"$VENV/packages"
    give_to_user "$VENV/packages"
}

# What comes before a program of the environment: no CA bundles, no proxies.
JUDGE=(env -u REQUESTS_CA_BUNDLE -u CURL_CA_BUNDLE -u SSL_CERT_FILE -u SSL_CERT_DIR
    -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY -u all_proxy -u ALL_PROXY)

# judge COMMAND [ARG…]: a program of the environment. Not for the background: what is then killed would be a shell.
judge() {
    local program=$1
    shift
    "${JUDGE[@]}" "$VENV/bin/$program" "$@"
}

free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)) && ss -Hltn "sport = :$port" | grep -q .; do :; done
    echo "$port"
}
