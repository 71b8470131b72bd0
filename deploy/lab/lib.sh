# shellcheck shell=bash
# Names, addresses and processes of the lab; sourced by up, down and env.
# Everything the lab starts runs in its own network namespace and has a file in $LAB/run; everything it writes is below $LAB.

REPO=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/../..")
# shellcheck source=deploy/prelude.sh
. "$REPO/deploy/prelude.sh"

# A second lab beside the first wants a name, a folder and two ports of its own.
NS=${METALMAN_LAB_NAME:-metalman-lab}
LAB=${METALMAN_LAB_DIR:-$HOME/.local/state/$NS}
API_PORT=${METALMAN_LAB_API_PORT:-16443}
WEB_PORT=${METALMAN_LAB_WEB_PORT:-18443}
IMAGES=${METALMAN_IMAGE_DIR:-$LAB/images}
# Keys for Secure Boot stay with the images: the site's GRUB in them is signed with one of these.
SECURE_BOOT=$IMAGES/secureboot

GATEWAY=10.77.0.1
SITE=lab
DISK_MIB=4096
BIN=$REPO/target/x86_64-unknown-linux-gnu

# Facts about machine number N.
node_name() { echo "node-$1"; }
node_mac() { printf '52:54:00:77:00:1%d\n' "$1"; }
node_ip() { echo "10.77.0.1$1"; }
node_bmc_ip() { echo "10.77.1.$1"; }
node_uuid() { printf '77000000-0000-4000-8000-52540077001%d\n' "$1"; }
node_serial() { echo "LAB$1"; }
node_disk() { echo "$LAB/disks/node-$1.raw"; }
node_console() { echo "$LAB/serial/node-$1.log"; }

# METALMAN_LAB_SECURE_BOOT has one word per machine: `off` (the default), `distribution` (the keys that PCs are sold with)
# or `site` (those and the key of this lab, which signs our own GRUB).
node_secure_boot() {
    local words
    read -r -a words <<<"${METALMAN_LAB_SECURE_BOOT:-}"
    echo "${words[$(($1 - 1))]:-off}"
}
node_firmware_vars() {
    case $(node_secure_boot "$1") in
    distribution) echo /usr/share/OVMF/OVMF_VARS_4M.ms.fd ;;
    site) echo "$SECURE_BOOT/OVMF_VARS_4M.site.fd" ;;
    *) echo /usr/share/OVMF/OVMF_VARS_4M.fd ;;
    esac
}

in_ns() { ip netns exec "$NS" "$@"; }
ns_exists() { [ -e "/run/netns/$NS" ]; }

# The number of machines the running lab was made with; 0 without one.
lab_size() { cat "$LAB/run/machines" 2>/dev/null || echo 0; }

# start NAME CMD…: runs CMD in the background with its output in $LAB/log/NAME.log. The pid file also holds the start time,
# so that a number that was given to somebody else meanwhile is not taken for ours.
start() {
    local name=$1 pid
    shift
    is_running "$name" && return
    setsid "$@" </dev/null >>"$LAB/log/$name.log" 2>&1 8>&- 9>&- &
    pid=$!
    printf '%s %s\n' "$pid" "$(start_time "$pid")" >"$LAB/run/$name.pid"
}

# Field 22 of /proc/PID/stat, counted behind the command name, which may hold spaces. A zombie has none: it runs no more.
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" { print $20 }'; }

is_running() {
    local pid began
    read -r pid began 2>/dev/null <"$LAB/run/$1.pid" || return 1
    [ -n "$began" ] && [ "$(start_time "$pid")" = "$began" ]
}

# stop NAME: TERM, then KILL after ten seconds.
stop() {
    local pid i
    if is_running "$1"; then
        read -r pid _ <"$LAB/run/$1.pid"
        kill -TERM "$pid" 2>/dev/null || true
        for ((i = 0; i < 100; i++)); do
            is_running "$1" || break
            sleep 0.1
        done
        is_running "$1" && { warn "$1 did not stop within 10 s, killing it" && kill -KILL "$pid" 2>/dev/null; }
    fi
    rm -f "$LAB/run/$1.pid"
}

# wait_for SECONDS NAME WHAT CMD…: polls CMD; fails with the last lines of NAME's log when NAME ends or the time is over.
wait_for() {
    local limit=$((SECONDS + $1)) name=$2 what=$3
    shift 3
    until "$@" >/dev/null 2>&1; do
        if ! is_running "$name"; then
            tail -n 25 "$LAB/log/$name.log" >&2
            die "$name ended while waiting for $what; its log: $LAB/log/$name.log"
        fi
        if ((SECONDS > limit)); then
            tail -n 25 "$LAB/log/$name.log" >&2
            die "no $what within the time; log: $LAB/log/$name.log"
        fi
        sleep 0.2
    done
}

kube() { KUBECONFIG=$LAB/kubeconfig "$LAB/bin/kubectl" "$@"; }

# claim_folder: makes $LAB ours. `down` empties it, so a folder with something else in it is refused.
claim_folder() {
    if [ -d "$LAB" ] && [ ! -e "$LAB/.metalman-lab" ] && [ -n "$(find "$LAB" -mindepth 1 -maxdepth 1 ! -name images -print -quit)" ]; then
        die "$LAB has other things in it: name an empty folder in METALMAN_LAB_DIR"
    fi
    mkdir -p "$LAB"/{run,log,bin,bmc,disks,serial,metalman}
    chmod 711 "$LAB"
    touch "$LAB/.metalman-lab"
}
