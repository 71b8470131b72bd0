# shellcheck shell=bash
# The Kubernetes API: creates, status patches, a watcher that follows and many that wait; memory; kill -9 while it is
# written to. Our embedded API (SQLite, every commit on disk before it is answered) beside kube-apiserver with etcd.
#
# The real server comes from KUBEBUILDER_ASSETS: etcd and kube-apiserver. Without them there is only our own column.

# quick is set by tests/bench/run.
# shellcheck disable=SC2154

# shellcheck source=tests/bench/product.sh
. tests/bench/product.sh

REAL_PORT=6443
REAL_TOKEN=administrator-of-a-bench
OBJECTS=2000 IDLE=500

suite_run() {
    [ -z "$quick" ] || OBJECTS=500 IDLE=100
    install_packages curl openssl
    if wanted kube-apiserver; then
        if [ -x "${KUBEBUILDER_ASSETS:-}/kube-apiserver" ] && [ -x "${KUBEBUILDER_ASSETS:-}/etcd" ]; then
            api_real
        else
            warn "no kube-apiserver beside ours: KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver"
        fi
    fi
    if wanted metalman; then
        api_ours
    fi
    server_stop
}

# api_rows KUBECONFIG
api_rows() {
    row 'memory at rest' "{\"rss_mb_min\": $(server_rss_mb)}"
    measured . api --kubeconfig "$1" --machines $OBJECTS --pids "$(server_pids | paste -sd,)"
    api_phase "$OBJECTS creates, 16 at a time" create
    api_phase "$OBJECTS status patches, 16 at a time" patch
    api_watcher 'one watcher of all writes, in order'
    measured . api --kubeconfig "$1" --machines $OBJECTS --filled --idle $IDLE --pids "$(server_pids | paste -sd,)"
    api_phase "$OBJECTS patches beside $IDLE idle watchers" patch
    api_watcher "one watcher beside $IDLE idle ones"
    row "$OBJECTS objects, $IDLE watchers, memory" "$(jq -c '{rss_mb_min: .rss_mb}' <<<"$MEASURED")"
}

# api_phase TITLE create|patch
api_phase() {
    row "$1" "$(jq -c --arg phase "$2" '{per_s_max: .[$phase].per_s, p50_us_min: .[$phase].us.p50, p99_us_min: .[$phase].us.p99, other}' <<<"$MEASURED")" \
        "$(jq -r '.error // ""' <<<"$MEASURED")"
}

api_watcher() {
    row "$1" "$(jq -c '{seen: .watcher.seen, behind_us: .watcher.behind_us}' <<<"$MEASURED")" "$(jq -r '.error // ""' <<<"$MEASURED")"
}

api_ours() {
    local command state=$RUN/api-state
    step "metalman"
    product_build
    bench_files
    product_image >/dev/null
    mapfile -t command < <(product_command "$state")
    server_start metalman "${command[@]}"
    product_ready
    product_settled
    api_rows "$state/kubeconfig"
    api_killed "$state" "${command[@]}"
}

# api_killed STATE CMD…: three times kill -9 while Machines are written.
api_killed() {
    local try state=$1 writer lost=0 back=0 acknowledged=0 checked
    shift
    for try in 1 2 3; do
        server_stop
        rm -rf "$state"
        server_start metalman "$@"
        product_ready
        generator api-write --kubeconfig "$state/kubeconfig" --machines 100000 --notes "$RUN/notes" >/dev/null &
        writer=$!
        until_written "$state/kubeconfig"
        server_kill
        wait $writer || die "the writers failed"
        server_start metalman "$@"
        product_ready
        checked=$(generator api-check --kubeconfig "$state/kubeconfig" --notes "$RUN/notes")
        acknowledged=$((acknowledged + $(jq .acknowledged <<<"$checked")))
        lost=$((lost + $(jq .lost <<<"$checked")))
        back=$((back + $(jq .back <<<"$checked")))
    done
    row "kill -9 while 16 write, $try times" "{\"acknowledged\": $acknowledged, \"lost\": $lost, \"versions_back\": $back}"
    [ $((lost + back)) = 0 ] || die "acknowledged writes are gone: $lost objects lost, versions went back by $back"
}

# until_written KUBECONFIG: until some hundreds of objects are there.
until_written() {
    local token url count tries
    token=$(jq -r '.users[0].user.token' "$1")
    url=$(jq -r '.clusters[0].cluster.server' "$1")
    for ((tries = 0; tries < 600; tries++)); do
        count=$(ip netns exec $SERVER_NS curl -ks -m 5 -H "Authorization: Bearer $token" \
            "$url/apis/unbounded-cloud.io/v1alpha3/machines?limit=1" | jq '.metadata.remainingItemCount // 0' || true)
        [ "${count:-0}" -lt 300 ] || return 0
        sleep 0.1
    done
    die "nothing is written"
}

# api_real: etcd and kube-apiserver, which know our definitions.
api_real() {
    local dir=$RUN/real definition code
    step "kube-apiserver $("$KUBEBUILDER_ASSETS/kube-apiserver" --version | awk '{print $2}') with etcd"
    mkdir -p "$dir"
    real_keys "$dir"
    printf '%s,admin,1,system:masters\n' $REAL_TOKEN >"$dir/tokens.csv"
    real_script "$dir"
    server_start kube-apiserver bash "$dir/run.sh"
    real_until "$dir" readyz
    for definition in deploy/crd/*.yaml; do
        # Some older servers take an empty default for none and refuse it.
        sed '/^ *default: ""$/d' "$definition" >"$dir/definition.yaml"
        code=$(real_curl "$dir" apis/apiextensions.k8s.io/v1/customresourcedefinitions -o "$dir/answer" -w '%{http_code}' \
            -H 'Content-Type: application/yaml' --data-binary @"$dir/definition.yaml")
        [ "$code" = 201 ] || die "kube-apiserver refuses $definition: $(cat "$dir/answer")"
    done
    real_until "$dir" apis/unbounded-cloud.io/v1alpha3/machines
    real_until "$dir" apis/unbounded-cloud.io/v1alpha3/machineoperations
    product_settled
    api_rows "$dir/kubeconfig"
    server_stop
}

real_keys() {
    local dir=$1
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=bench-ca \
        -keyout "$dir/ca.key" -out "$dir/ca.crt" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=kube-apiserver \
        -keyout "$dir/server.key" -out "$dir/server.csr" 2>/dev/null
    openssl x509 -req -in "$dir/server.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 30 -out "$dir/server.crt" \
        -extfile <(printf 'subjectAltName=IP:%s,DNS:kubernetes.default.svc\nextendedKeyUsage=serverAuth\n' $SERVER_IP) 2>/dev/null
    openssl ecparam -name prime256v1 -genkey -noout -out "$dir/accounts.key"
    openssl ec -in "$dir/accounts.key" -pubout -out "$dir/accounts.pub" 2>/dev/null
    jq -n --arg ca "$(base64 -w0 "$dir/ca.crt")" --arg server "https://$SERVER_IP:$REAL_PORT" --arg token $REAL_TOKEN \
        '{clusters: [{cluster: {server: $server, "certificate-authority-data": $ca}}], users: [{user: {token: $token}}]}' >"$dir/kubeconfig"
}

# real_script DIR: both programs in one cgroup; etcd syncs every write to the disk, as it does by default.
real_script() {
    cat >"$1/run.sh" <<SCRIPT
set -eu
cd "$1"
"$KUBEBUILDER_ASSETS/etcd" --data-dir etcd --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster default=http://127.0.0.1:2380 >etcd.log 2>&1 &
exec "$KUBEBUILDER_ASSETS/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --bind-address=$SERVER_IP --advertise-address=$SERVER_IP \
    --secure-port=$REAL_PORT --service-cluster-ip-range=10.0.0.0/24 --tls-cert-file=server.crt --tls-private-key-file=server.key \
    --token-auth-file=tokens.csv --authorization-mode=RBAC --service-account-issuer=https://kubernetes.default.svc \
    --service-account-signing-key-file=accounts.key --service-account-key-file=accounts.pub --disable-admission-plugins=ServiceAccount
SCRIPT
}

real_curl() {
    local dir=$1 path=$2
    shift 2
    ip netns exec $SERVER_NS curl -s --cacert "$dir/ca.crt" -H "Authorization: Bearer $REAL_TOKEN" "https://$SERVER_IP:$REAL_PORT/$path" "$@"
}

# real_until DIR PATH: until it is answered with 200.
real_until() {
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        [ "$(real_curl "$1" "$2" -m 2 -o /dev/null -w '%{http_code}')" != 200 ] || return 0
        kill -0 "$SERVER_PID" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 5 "$RUN/kube-apiserver.log" "$1/etcd.log" >&2
    die "kube-apiserver does not answer $2"
}
