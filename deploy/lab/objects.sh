# shellcheck shell=bash
# The Kubernetes objects of the lab, as somebody with a real rack would write them.

# machine_yaml N
machine_yaml() {
    local name
    name=$(node_name "$1")
    cat <<EOF
apiVersion: v1
kind: Secret
metadata:
  name: bmc-$name
  namespace: unbounded-system
data:
  password: $(tr -d '\n' <"$LAB/bmc/password" | base64 -w0)
---
apiVersion: unbounded-cloud.io/v1alpha3
kind: Machine
metadata:
  name: $name
  labels:
    unbounded-cloud.io/site: $SITE
spec:
  pxe:
    image: oci-layout:$IMAGES/host
    netbootImage: oci-layout:$IMAGES/netboot
    dhcpLeases:
    - mac: "$(node_mac "$1")"
      ipv4: $(node_ip "$1")
      subnetMask: 255.255.255.0
      gateway: $GATEWAY
      dns: [$GATEWAY]
    redfish:
      url: https://$(node_bmc_ip "$1")
      username: admin
      deviceID: $name
      passwordRef: {name: bmc-$name, namespace: unbounded-system, key: password}
---
EOF
}

# operation_yaml NAME MACHINE KIND
operation_yaml() {
    cat <<EOF
apiVersion: unbounded-cloud.io/v1alpha3
kind: MachineOperation
metadata:
  name: $1
spec:
  machineRef: $2
  operationKind: $3
---
EOF
}

# apply_machines N
apply_machines() {
    local i
    kube get namespace unbounded-system >/dev/null 2>&1 || kube create namespace unbounded-system
    for ((i = 1; i <= $1; i++)); do machine_yaml "$i"; done | kube apply -f -
}

# apply_replace N AGAIN: one HostReplace per machine; their names go to $LAB/run/operations. Without AGAIN those of an
# earlier `up` are left as they are.
apply_replace() {
    local i suffix=''
    [ -z "$2" ] || suffix=-$(date +%Y%m%d-%H%M%S)
    if [ -s "$LAB/run/operations" ] && [ -z "$2" ]; then return; fi
    for ((i = 1; i <= $1; i++)); do operation_yaml "replace-$(node_name "$i")$suffix" "$(node_name "$i")" HostReplace; done |
        kube apply -f -
    for ((i = 1; i <= $1; i++)); do echo "replace-$(node_name "$i")$suffix"; done >"$LAB/run/operations"
}
