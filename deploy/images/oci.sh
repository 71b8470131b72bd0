# shellcheck shell=bash
# Wraps a directory into an OCI image layout with one zstd tar layer. Byte for byte the same for the same content.

# put_blob LAYOUT FILE MEDIA-TYPE: moves FILE into the layout, prints its descriptor.
put_blob() {
    local digest size
    digest=$(sha256sum "$2" | cut -d' ' -f1)
    size=$(stat -c %s "$2")
    mv "$2" "$1/blobs/sha256/$digest"
    jq -nc --arg type "$3" --arg digest "sha256:$digest" --argjson size "$size" \
        '{mediaType: $type, digest: $digest, size: $size}'
}

# oci_layout TREE LAYOUT TITLE: TREE holds `disk/`; LAYOUT is created.
oci_layout() {
    local tree=$1 layout=$2 title=$3 created diff_id layer config manifest
    mkdir -p "$layout/blobs/sha256"
    chmod 755 "$layout"
    created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
    tar -C "$tree" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
        --mode='u=rwX,go=rX' --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
        -cf "$layout/layer.tar" disk
    diff_id=sha256:$(sha256sum "$layout/layer.tar" | cut -d' ' -f1)
    # The big parts are compressed already: a light pass is enough.
    zstd -q -1 -T0 --rm "$layout/layer.tar" -o "$layout/layer"
    layer=$(put_blob "$layout" "$layout/layer" application/vnd.oci.image.layer.v1.tar+zstd)
    jq -nc --arg created "$created" --arg diff "$diff_id" --arg title "$title" \
        '{created: $created, architecture: "amd64", os: "linux", config: {Labels: {"org.opencontainers.image.title": $title}},
          rootfs: {type: "layers", diff_ids: [$diff]}, history: [{created: $created, created_by: $title}]}' >"$layout/config"
    config=$(put_blob "$layout" "$layout/config" application/vnd.oci.image.config.v1+json)
    jq -nc --argjson config "$config" --argjson layer "$layer" \
        '{schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", config: $config, layers: [$layer]}' \
        >"$layout/manifest"
    manifest=$(put_blob "$layout" "$layout/manifest" application/vnd.oci.image.manifest.v1+json)
    jq -n --argjson manifest "$manifest" \
        '{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
          manifests: [$manifest + {platform: {architecture: "amd64", os: "linux"},
                                   annotations: {"org.opencontainers.image.ref.name": "latest"}}]}' >"$layout/index.json"
    printf '{"imageLayoutVersion":"1.0.0"}\n' >"$layout/oci-layout"
}
