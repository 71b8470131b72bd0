# shellcheck shell=bash
# Where the peers come from: Debian packages, and crates built once outside the workspace. Sourced by the suites.

# unpacked_package NAME: a package that conflicts with an installed one is unpacked beside it. Prints its root.
unpacked_package() {
    local root=$BENCH/packages/$1
    if [ ! -d "$root" ]; then
        rm -rf "$root.part" && mkdir -p "$root.part"
        (cd "$root.part" && apt_get download "$1" >/dev/null 2>&1 && dpkg-deb -x ./*.deb . && rm -f ./*.deb) ||
            die "cannot get the Debian package $1"
        mv "$root.part" "$root"
    fi
    printf '%s' "$root"
}

# crate_binary CRATE VERSION BINARY: from the registry.
crate_binary() {
    local root=$BENCH/crates/$1-$2
    if [ ! -x "$root/bin/$3" ]; then
        as_user cargo install --quiet --locked --root "$root" --target-dir "$BENCH/crates/target" "$1@$2" >"$BENCH/$1.log" 2>&1 ||
            { warn "the crate $1 does not build, it is left out: $(tail -n 1 "$BENCH/$1.log")" && return 1; }
    fi
    printf '%s' "$root/bin/$3"
}

# async_tftp_binary: the crate is a library; this is its own example of a server.
async_tftp_binary() {
    local root=$BENCH/crates/async-tftpd
    if [ ! -x "$root/bin/async-tftpd" ]; then
        mkdir -p "$root/src" "$root/bin"
        cat >"$root/Cargo.toml" <<TOML
[package]
name = "async-tftpd"
version = "0.0.0"
edition = "2024"
[dependencies]
async-tftp = "=0.4.2"
futures-lite = "2"
[workspace]
TOML
        cat >"$root/src/main.rs" <<'RUST'
fn main() {
    let mut args = std::env::args().skip(1);
    let (dir, address) = (args.next().unwrap(), args.next().unwrap());
    futures_lite::future::block_on(async {
        let server = async_tftp::server::TftpServerBuilder::with_dir_ro(dir).unwrap();
        server.bind(address.parse().unwrap()).build().await.unwrap().serve().await.unwrap();
    });
}
RUST
        (cd "$root" && as_user cargo build --quiet --release --target-dir "$BENCH/crates/target" >"$BENCH/async-tftp.log" 2>&1) ||
            { warn "the crate async-tftp does not build, it is left out: $(tail -n 1 "$BENCH/async-tftp.log")" && return 1; }
        find "$BENCH/crates/target" -path '*/release/async-tftpd' -type f -exec cp {} "$root/bin/" \;
    fi
    printf '%s' "$root/bin/async-tftpd"
}
