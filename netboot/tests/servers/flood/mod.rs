//! Floods of what no good client sends, with a good client in between that must be served.
//!
//! Everyday sizes take seconds. `METALMAN_FLOOD_PACKETS=1000000` makes them as long as one likes.

mod dhcp;
mod http;
mod spellings;
mod tftp;

use std::{fs, net::Ipv4Addr, os::unix::fs::symlink, process::Command, sync::Arc};

use netboot::{
    directory::{BootMachine, InMemory},
    http::BootFiles,
    images::{ImageMetadata, UnpackedImage},
    mac::MacAddr,
    render::{Renderer, ServerContext},
};
use tempfile::TempDir;

use crate::support::{clock, machine};

/// What is outside the root, and must never be seen by a client.
const SECRET: &str = "root:x:0:0: only for this machine's eyes";
/// What is inside.
const KERNEL: &[u8] = b"kernel";

/// Packets of one flood.
fn packets(everyday: u32) -> u32 {
    let asked = std::env::vars().find(|(name, _)| name == "METALMAN_FLOOD_PACKETS");
    asked.map_or(everyday, |(_, value)| {
        value.parse().expect("a number of packets")
    })
}

/// A sequence that is the same at every run (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let limit = u64::try_from(limit.max(1)).expect("fits");
        usize::try_from(self.0 % limit).expect("fits")
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("below 256")
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Pages of memory this process has, in KiB.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("reads");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let size = line.and_then(|line| line.split_whitespace().nth(1));
    size.and_then(|size| size.parse().ok())
        .expect("VmRSS in kB")
}

/// Room for thousands of sockets.
fn raise_file_limit() {
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit")
        .args(["--pid", &pid, "--nofile=8192:"])
        .status();
    assert!(raised.expect("prlimit runs").success());
}

/// Machines on these addresses whose image has a kernel, and links that lead out of it.
struct Images {
    directory: Arc<InMemory>,
    files: Arc<BootFiles>,
    _dir: TempDir,
}

fn images(addresses: impl Iterator<Item = Ipv4Addr>) -> Images {
    let dir = TempDir::new().expect("creates");
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("boot")).expect("creates");
    fs::write(dir.path().join("secret"), SECRET).expect("writes");
    fs::write(root.join("vmlinuz"), KERNEL).expect("writes");
    symlink("../secret", root.join("leak")).expect("links");
    symlink("../../secret", root.join("boot/leak")).expect("links");
    symlink("/etc/passwd", root.join("passwd")).expect("links");
    symlink("..", root.join("up")).expect("links");
    symlink("/", root.join("rootfs")).expect("links");
    let image = Arc::new(UnpackedImage {
        digest: "sha256:00".into(),
        root,
        metadata: ImageMetadata::default(),
        disk: None,
    });
    let machines = addresses
        .enumerate()
        .map(|(index, address)| {
            let number = u32::try_from(index).expect("fits").to_be_bytes();
            let mut machine: BootMachine = machine(address);
            machine.name = format!("node-{index}");
            machine.leases[0].mac =
                MacAddr::new([2, 0, number[0], number[1], number[2], number[3]]);
            machine.netboot = Some(Arc::clone(&image));
            machine
        })
        .collect();
    let directory = Arc::new(InMemory::new(machines));
    let server = ServerContext {
        http_url: "http://127.0.0.1:8880".into(),
        address: Ipv4Addr::LOCALHOST,
        port: 8880,
    };
    let known = Arc::clone(&directory);
    let files = Arc::new(BootFiles::new(
        known,
        Arc::new(Renderer::new()),
        server,
        clock,
    ));
    Images {
        directory,
        files,
        _dir: dir,
    }
}
