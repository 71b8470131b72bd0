//! Manifests and layers: a document is parsed or refused, an archive stays inside and within its
//! limits.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path},
    sync::OnceLock,
};

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::Input;
use crate::{
    directory::Architecture,
    images::{
        FetchPhase, ImageError, ProgressSink,
        digest::{digest_of, is_digest},
        manifest::{self, Document, Layer, LayerCompression},
        progress::Progress,
        reader::DigestReader,
        unpack::{Budget, unpack_layer},
    },
};

const LIMITS: Budget = Budget {
    bytes: 64 << 10,
    entries: 40,
};
const CANARY: &[u8] = b"nobody may touch this";

/// A manifest, a layer as raw bytes, or entries of an archive that is put together here.
pub fn images(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 6 {
        0 => documents(input.rest()),
        1 => layers(&[(input.rest().to_vec(), LayerCompression::None)]),
        2 => layers(&[(input.rest().to_vec(), LayerCompression::Gzip)]),
        3 => layers(&[(input.rest().to_vec(), LayerCompression::Zstd)]),
        _ => {
            let first = archive(&mut input);
            let second = archive(&mut input);
            layers(&[
                (first, LayerCompression::None),
                (second, LayerCompression::None),
            ]);
        }
    }
}

fn documents(bytes: &[u8]) {
    match manifest::parse(bytes, "fuzzed") {
        Ok(Document::Index(entries)) => {
            for architecture in [Architecture::Amd64, Architecture::Arm64] {
                if let Ok(entry) = manifest::select_platform(&entries, architecture, "fuzzed") {
                    assert!(is_digest(&entry.digest), "{entry:?}");
                }
            }
        }
        Ok(Document::Manifest(manifest)) => {
            assert!(manifest.layers.len() <= 128);
            assert!(manifest.layers.iter().all(|layer| is_digest(&layer.digest)));
        }
        Err(error) => assert!(!error.is_transient(), "no repetition mends {error}"),
    }
}

/// Names that meet each other; a fuzzer picks by number.
const NAMES: [&[u8]; 16] = [
    b"disk/a",
    b"disk/a/b",
    b"disk/b",
    b"disk/a/b/c",
    b"disk/../x",
    b"/disk/a",
    b"disk",
    b"disk/.wh.a",
    b"disk/.wh..wh..opq",
    b"disk/a/.wh..wh..opq",
    b"disk/.wh...",
    b"etc/passwd",
    b"../canary",
    b"disk//./a",
    b"a",
    b"disk/a/../../canary",
];

/// A ustar archive of up to 20 entries with good checksums.
fn archive(input: &mut Input<'_>) -> Vec<u8> {
    let mut archive = Vec::new();
    for _ in 0..input.byte() % 20 {
        let kind = b"0051222LxgK7346S"[usize::from(input.byte() % 16)];
        let name = text(input);
        let link = text(input);
        let size = match input.byte() {
            255 => u64::from(input.number()) << 20,
            size => u64::from(size % 200),
        };
        let content = usize::try_from(size.min(200)).unwrap_or(200);
        archive.extend(header(kind, &name, &link, size));
        archive.extend(input.bytes(content));
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn text(input: &mut Input<'_>) -> Vec<u8> {
    match usize::from(input.byte()) {
        known @ 0..128 => NAMES[known % NAMES.len()].to_vec(),
        own => input.bytes(own - 128).to_vec(),
    }
}

fn header(kind: u8, name: &[u8], link: &[u8], size: u64) -> [u8; 512] {
    let mut block = [0_u8; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name[..name.len().min(100)]);
    put(100, b"0006755\0");
    put(
        124,
        format!("{:011o}\0", size.min(0o77_777_777_777)).as_bytes(),
    );
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, &link[..link.len().min(100)]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn layers(blobs: &[(Vec<u8>, LayerCompression)]) {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Builder::new_current_thread().build().expect("builds"));
    let outer = TempDir::new().expect("creates");
    let staging = outer.path().join("staging");
    fs::create_dir(&staging).expect("creates");
    fs::write(outer.path().join("canary"), CANARY).expect("writes");
    let mut budget = LIMITS;
    for (bytes, compression) in blobs {
        let layer = Layer {
            digest: digest_of(bytes),
            size: bytes.len() as u64,
            compression: *compression,
        };
        let progress = Progress::new(&ProgressSink::silent(), FetchPhase::Layers, layer.size);
        let stop = CancellationToken::new();
        let blob = DigestReader::new(bytes.as_slice(), layer.size, progress, stop);
        let outcome = runtime.block_on(unpack_layer(&layer, blob, &staging, &mut budget));
        if let Err(error) = outcome {
            let ours = matches!(
                error,
                ImageError::Unreachable { .. } | ImageError::Cancelled
            );
            assert!(!ours, "blames the source for {error}");
            break;
        }
    }
    let names: Vec<_> = entries(outer.path());
    assert_eq!(
        names,
        ["canary", "staging"],
        "something was written outside"
    );
    let canary = fs::read(outer.path().join("canary")).expect("reads");
    assert_eq!(canary, CANARY, "a file outside was changed");
    assert!(entries(&staging).iter().all(|name| name == "disk"));
    let (mut files, mut bytes) = (0, 0);
    walk(&staging, 0, &mut files, &mut bytes);
    assert!(bytes <= LIMITS.bytes, "{bytes} bytes unpacked");
    assert!(files <= LIMITS.entries * 33, "{files} files unpacked");
}

fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .expect("lists")
        .map(|entry| {
            entry
                .expect("lists")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// Only plain files, directories and links that do not lead out; nothing set-uid.
fn walk(directory: &Path, depth: usize, files: &mut u64, bytes: &mut u64) {
    for entry in fs::read_dir(directory).expect("lists") {
        let path = entry.expect("lists").path();
        let found = fs::symlink_metadata(&path).expect("looks");
        *files += 1;
        if found.is_dir() {
            walk(&path, depth + 1, files, bytes);
        } else if found.is_symlink() {
            let target = fs::read_link(&path).expect("reads");
            let climbs = target
                .components()
                .filter(|c| *c == Component::ParentDir)
                .count();
            assert!(
                target.is_relative() && climbs < depth,
                "{} -> {}",
                path.display(),
                target.display()
            );
        } else {
            assert!(found.is_file(), "{} is no plain file", path.display());
            assert_eq!(
                found.permissions().mode() & 0o7000,
                0,
                "{} is set-uid",
                path.display()
            );
            *bytes += found.len();
        }
    }
}
