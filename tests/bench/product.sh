# shellcheck shell=bash
# metalman itself as the server under test: a netboot image, N Machine objects, `metalman serve --standalone`.
# Sourced by the suites, after lib.sh. Machines are made through the embedded API once; the filled state is kept.

# shellcheck source=deploy/images/oci.sh
. deploy/images/oci.sh

METALMAN=''

product_build() {
    METALMAN=$(built metalman -p metalman --bin metalman)
}

# product_image: an OCI layout with the boot files in $BENCH/files, named by content. Prints its directory.
product_image() {
    local layout=$BENCH/image tree
    if [ ! -f "$layout/index.json" ] || [ "$BENCH/files/made" -nt "$layout/index.json" ]; then
        tree=$(mktemp -d)
        mkdir -p "$tree/disk/grub"
        cp "$BENCH"/files/*.{efi,img} "$tree/disk/"
        cp templates/boot/*.j2 "$tree/disk/grub/"
        printf 'dhcpBootImageName: shimx64.efi\nhttpBootPath: shimx64.efi\n' >"$tree/disk/metadata.yaml"
        rm -rf "$layout"
        SOURCE_DATE_EPOCH=0 oci_layout "$tree" "$layout" 'bench'
        rm -rf "$tree"
    fi
    printf '%s' "$layout"
}

# bench_files: the files that every server serves.
bench_files() {
    [ -f "$BENCH/files/made" ] && return
    mkdir -p "$BENCH/files"
    head -c 1048576 /dev/urandom >"$BENCH/files/shimx64.efi"
    head -c 33554432 /dev/urandom >"$BENCH/files/big.img"
    chmod -R a+rX "$BENCH/files"
    touch "$BENCH/files/made"
}

# product_command STATE: the command line, one word a line.
product_command() {
    printf '%s\n' "$METALMAN" serve --standalone --site bench --bind-address $SERVER_IP --state-dir "$1" \
        --default-netboot-image "oci-layout:$BENCH/image" --log-filter warn
}

# product_state N: a state folder with N machines, filled once and copied for each run. Prints nothing; sets STATE.
product_state() {
    local filled=$BENCH/state-$1-$(sha256sum "$METALMAN" | cut -c1-12) command took
    bench_files
    product_image >/dev/null
    if [ ! -d "$filled" ]; then
        rm -rf "$BENCH/state-$1"-* "$RUN/filling"
        mapfile -t command < <(product_command "$RUN/filling")
        server_start filling "${command[@]}"
        product_ready
        took=$( (ip netns exec $SERVER_NS "$GENERATOR" fill --kubeconfig "$RUN/filling/kubeconfig" --machines "$1" \
            --first $CLIENTS_FIRST --gateway $SERVER_IP) | jq -r '.seconds | . * 10 | round / 10')
        FILL_SECONDS=$took
        step "filled metalman with $1 machines through its API in $took s"
        product_image_ready "$RUN/filling"
        server_stop
        mv "$RUN/filling" "$filled"
        printf '%s\n' "$took" >"$filled.seconds"
    fi
    FILL_SECONDS=$(cat "$filled.seconds")
    STATE=$RUN/state
    rm -rf "$STATE"
    cp -a "$filled" "$STATE"
}

product_ready() {
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        if ip netns exec $SERVER_NS curl -fs -o /dev/null -m 1 "http://$SERVER_IP:8081/readyz"; then return; fi
        kill -0 "$SERVER_PID" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 5 "$RUN/$SERVER_NAME.log" >&2
    die "metalman did not get ready"
}

# product_image_ready STATE: until the netboot image is unpacked, which metalman does for idle machines by itself.
product_image_ready() {
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        [ -z "$(find "$1/cache" -name shimx64.efi -print -quit 2>/dev/null)" ] || return 0
        sleep 0.1
    done
    die "metalman did not unpack the netboot image"
}

# product_settled: until what a start brings with it is done: less than a tenth of a processor in half a second.
product_settled() {
    local tries before
    for ((tries = 0; tries < 120; tries++)); do
        before=$(server_cpu_us)
        sleep 0.5
        [ $(($(server_cpu_us) - before)) -ge 50000 ] || return 0
    done
    warn "metalman with its machines does not come to rest within a minute; the figures have that in them"
}

# product_start N: metalman with N machines, answering and at rest.
product_start() {
    local command
    product_state "$1"
    mapfile -t command < <(product_command "$STATE")
    server_start metalman "${command[@]}"
    product_ready
    product_settled
}
