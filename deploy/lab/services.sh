# shellcheck shell=bash
# The two programs of the lab, bmcsim (the machines and their BMCs) and metalman, with their configuration.

# make_secrets: one BMC password for the life of the lab.
make_secrets() {
    [ -s "$LAB/bmc/password" ] || (umask 077 && openssl rand -hex 12 >"$LAB/bmc/password")
    give_to_user "$LAB/bmc/password"
}

# write_metalman_config: the appliance of the site, alone with an API of its own. METALMAN_LAB_DHCP has more lines for [dhcp].
write_metalman_config() {
    cat >"$LAB/metalman.toml" <<EOF
site = "$SITE"
state_dir = "$LAB/metalman"
standalone = true
bind_address = "$GATEWAY"
serve_url = "http://$GATEWAY:8880"

[dhcp]
interface = "br0"
${METALMAN_LAB_DHCP:-}

[log]
filter = "${METALMAN_LAB_LOG:-info}"
EOF
}

start_bmcsim() {
    is_running bmcsim && return
    step "starting the machines' BMCs"
    write_bmcsim_config "$1"
    start bmcsim ip netns exec "$NS" "$LAB/bin/bmcsim" --config "$LAB/bmcsim.toml"
    wait_for 30 bmcsim "answer of the first BMC" \
        ip netns exec "$NS" curl -ksf -o "$LAB/run/bmc.json" "https://$(node_bmc_ip 1)/redfish/v1/"
}

start_metalman() {
    is_running metalman && return
    step "starting metalman"
    write_metalman_config
    start metalman ip netns exec "$NS" "$LAB/bin/metalman" serve --config "$LAB/metalman.toml"
    wait_for 60 metalman "readiness of metalman" \
        ip netns exec "$NS" curl -sf -o "$LAB/run/ready" "http://$GATEWAY:8081/readyz"
}

# write_kubeconfig: metalman's own kubeconfig, but by the forwarded port, for the person at this machine.
write_kubeconfig() {
    local from=$LAB/metalman/kubeconfig cluster
    wait_for 20 metalman "kubeconfig" test -s "$from"
    (umask 077 && cp "$from" "$LAB/kubeconfig")
    cluster=$(kube config view -o jsonpath='{.clusters[0].name}')
    kube config set-cluster "$cluster" --server="https://127.0.0.1:$API_PORT" >/dev/null
    (umask 077 && kube config view --raw -o jsonpath='{.users[0].user.token}' >"$LAB/token")
    kube config view --raw -o jsonpath='{.clusters[0].cluster.certificate-authority-data}' | base64 -d >"$LAB/ca.crt"
    give_to_user "$LAB/kubeconfig" "$LAB/token" "$LAB/ca.crt"
    wait_for 20 metalman "answer of the API on 127.0.0.1:$API_PORT" kube get --raw /version
}
