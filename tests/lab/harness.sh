# shellcheck shell=bash
# What every lab test begins and ends with; sourced from the top of the repository, after deploy/prelude.sh.
# A lab of its own per run: any number of runs may go on at once, also from other checkouts. The image cache is shared.

export METALMAN_IMAGE_DIR=${METALMAN_IMAGE_DIR:-$HOME/.local/state/metalman-lab/images}
export METALMAN_LAB_NAME=metalman-test-$$
free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)) && ss -Hltn "sport = :$port" | grep -q .; do :; done
    echo "$port"
}
METALMAN_LAB_API_PORT=$(free_port)
METALMAN_LAB_WEB_PORT=$(free_port)
export METALMAN_LAB_API_PORT METALMAN_LAB_WEB_PORT
scratch=$(mktemp -d /tmp/metalman-test.XXXXXX)
export METALMAN_LAB_DIR=$scratch/lab

# The command that ended the test, when no `die` says why.
set -o errtrace
trap 'failed_at="${BASH_SOURCE[0]##*/} line $LINENO: $BASH_COMMAND (exit $?)"' ERR

finish() {
    local code=$? log
    trap - ERR
    if [ "$code" != 0 ]; then
        warn "the lab test failed${failed_at:+ at $failed_at}; the last lines of what it left"
        [ -z "${METALMAN_REASONS:-}" ] || [ -z "${failed_at:-}" ] || printf '%s: %s\n' "${0##*/}" "$failed_at" >>"$METALMAN_REASONS"
        kubectl get machineoperations -o wide 2>/dev/null >&2 || true
        for log in "$METALMAN_LAB_DIR"/serial/*.log; do metalman timeline "$(basename "$log" .log)" 2>/dev/null | tail -n 60 >&2 || true; done
        tail -n 20 "$METALMAN_LAB_DIR"/log/*.log >&2 || true
        tail -n 40 "$METALMAN_LAB_DIR"/serial/*.log 2>/dev/null | tr -d '\r' >&2 || true
    fi
    # A test that made more than the lab itself takes it back here.
    ! declare -F finish_more >/dev/null || finish_more || true
    deploy/lab/down --purge || true
    rm -rf "$scratch"
    exit "$code"
}
trap finish EXIT

in_lab() { ip netns exec "$METALMAN_LAB_NAMESPACE" "$@"; }

# What bmcsim's admin plane knows: every Redfish call and every change of power.
bmcsim_log() { in_lab curl -sf http://127.0.0.1:8099/log; }

# redfish NODE-NUMBER METHOD PATH BODY: a call at the BMC of a machine, PATH below its system.
redfish() {
    local name=NODE_$1_NAME bmc=NODE_$1_BMC user=NODE_$1_BMC_USER password=NODE_$1_BMC_PASSWORD_FILE
    in_lab curl --insecure --silent --show-error --fail --output /dev/null --user "${!user}:$(cat "${!password}")" \
        --header 'Content-Type: application/json' --request "$2" --data "$4" "${!bmc}/redfish/v1/Systems/${!name}$3"
}

# operation NAME MACHINE KIND
operation() {
    kubectl apply -f - <<EOF
apiVersion: unbounded-cloud.io/v1alpha3
kind: MachineOperation
metadata:
  name: $1
spec:
  machineRef: $2
  operationKind: $3
EOF
}

# Lines of a machine's timeline that were there at the last `mark`.
declare -A marks=()
mark() { marks[$1]=$({ metalman timeline "$1" 2>/dev/null || true; } | wc -l); }
# since NODE: what its timeline says since.
since() { { metalman timeline "$1" 2>/dev/null || true; } | tail -n "+$((${marks[$1]:-0} + 1))"; }

# until_told SECONDS NODE PATTERN: waits for a line in the timeline since the mark.
until_told() {
    local limit=$((SECONDS + $1))
    until told_so "$2" "$3"; do
        ((SECONDS < limit)) || die "the timeline of $2 does not say within $1 s: $3"
        sleep 0.5
    done
}
# told_so NODE PATTERN. Not by a pipe: grep would end it early, and pipefail would take that for a failure.
told_so() { grep -q -- "$2" <<<"$(since "$1")"; }
# told NODE PATTERN; not_told NODE PATTERN: what must and what must not be there.
told() { told_so "$1" "$2" || die "the timeline of $1 does not say: $2"; }
not_told() { ! told_so "$1" "$2" || die "the timeline of $1 says: $2"; }

# until_message SECONDS OPERATION PATTERN: waits for what an operation says of its target.
until_message() {
    local limit=$((SECONDS + $1))
    until grep -q -- "$3" <<<"$(kubectl get machineoperation "$2" -o jsonpath='{.status.targets[0].message}')"; do
        ((SECONDS < limit)) || die "operation $2 does not say within $1 s: $3"
        sleep 0.5
    done
}
