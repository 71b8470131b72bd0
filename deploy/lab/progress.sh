# shellcheck shell=bash
# Shows how operations get on, until all have ended: one line per machine that is rewritten on a terminal, and plain
# lines on every change elsewhere.

# operations_tsv NAME…: machine, kind, phase, stage, percent, seconds it took so far, message; one line per operation.
operations_tsv() {
    kube get machineoperations -o json | jq -r --args '
        def seconds: sub("\\.[0-9]+"; "") | fromdate;
        .items[] | select(.metadata.name | IN($ARGS.positional[]))
        | (.status.targets // [])[0] as $t
        | [.spec.machineRef, .spec.operationKind, ($t.phase // .status.phase // "Pending"), ($t.stage // "-"),
           ($t.percent // -1), (((.status.completedAt // (now | todate)) | seconds) - ((.status.startedAt // .metadata.creationTimestamp) | seconds) | floor),
           ((if .status.phase == "Failed" then .status.message else null end) // $t.message // .status.message // "-")]
        | @tsv' "$@"
}

clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# show_progress TIMEOUT NAME…: 0 when all are Complete, 1 when one Failed, 2 when the time is over.
show_progress() {
    local limit=$((SECONDS + $1)) rows machine kind phase stage percent elapsed message line running failed drawn=0
    local terminal='' columns=120
    local -A last=()
    shift
    if [ -t 1 ]; then
        terminal=yes
        columns=$({ stty size </dev/tty; } 2>/dev/null | cut -d' ' -f2) || columns=''
        [ "${columns:-0}" -gt 20 ] || columns=120
    fi
    while :; do
        running=0 failed=0
        rows=$(operations_tsv "$@") || rows=''
        [ -z "$terminal" ] || [ "$drawn" = 0 ] || printf '\033[%dA' "$drawn"
        [ -z "$rows" ] || drawn=0
        while IFS=$'\t' read -r machine kind phase stage percent elapsed message; do
            [ -n "$machine" ] || continue
            case $phase in
            Complete) ;;
            Failed) failed=1 ;;
            *) running=$((running + 1)) ;;
            esac
            line=$(printf '%-8s %-12s %-10s %-14s %4s' "$machine" "$kind" "$phase" "$stage" "$([ "$percent" -lt 0 ] || echo "$percent%")")
            if [ -n "$terminal" ]; then
                printf '\033[2K%.*s\n' $((columns - 1)) "$line $(clock "$elapsed")  $message"
                drawn=$((drawn + 1))
            elif [ "${last[$machine]:-}" != "$phase $stage $((percent / 10))" ]; then
                last[$machine]="$phase $stage $((percent / 10))"
                printf '[%s] %s  %s\n' "$(clock "$elapsed")" "$line" "$message"
            fi
        done <<<"$rows"
        if [ -n "$rows" ] && [ "$running" = 0 ]; then return "$failed"; fi
        is_running metalman || { warn "metalman ended; its log: $LAB/log/metalman.log" && return 1; }
        ((SECONDS < limit)) || return 2
        sleep 1
    done
}

next_steps() {
    cat <<EOF

What to try next:
  eval "\$(deploy/lab/env)"
  kubectl get machines -o wide
  kubectl get mop
  kubectl describe mop $(head -n 1 "$LAB/run/operations")
  metalman timeline node-1
  kubectl unbounded machine reboot node-1
  tail -f "\$NODE_1_SERIAL"
  kubectl apply -f - <<< '{"apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "MachineOperation", "metadata": {"name": "reboot-1"}, "spec": {"machineRef": "node-1", "operationKind": "HostReboot"}}'
  web pages: https://127.0.0.1:$WEB_PORT (token: $LAB/token)
  deploy/lab/up --again; deploy/lab/down
EOF
}
