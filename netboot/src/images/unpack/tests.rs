use std::io::Write as _;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::images::digest::digest_of;
use crate::images::manifest::{Layer, LayerCompression};
use crate::images::progress::{FetchPhase, Progress, ProgressSink};

/// One entry of a made-up archive: type flag, name, link target, content.
pub(in crate::images) struct Item<'a>(
    pub(in crate::images) u8,
    pub(in crate::images) &'a str,
    pub(in crate::images) &'a str,
    pub(in crate::images) &'a [u8],
);

/// A ustar archive, byte by byte, because builders refuse what is tested here.
pub(in crate::images) fn tar(items: &[Item<'_>]) -> Vec<u8> {
    let mut archive = Vec::new();
    for Item(kind, name, link, content) in items {
        archive.extend(header(*kind, name, link, content.len() as u64));
        archive.extend(*content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

pub(in crate::images) fn header(kind: u8, name: &str, link: &str, size: u64) -> Vec<u8> {
    let mut block = vec![0_u8; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name.as_bytes()[..name.len().min(100)]);
    put(100, b"0006755\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

pub(in crate::images) fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len() + 1;
        while length != rest.len() + length.to_string().len() {
            length = rest.len() + length.to_string().len();
        }
        content.extend(format!("{length}{rest}").into_bytes());
    }
    content
}

const LIMITS: Budget = Budget {
    bytes: 1 << 20,
    entries: 100,
};

async fn unpack_into(
    staging: &Path,
    bytes: &[u8],
    compression: LayerCompression,
    budget: &mut Budget,
) -> Result<(), ImageError> {
    let layer = Layer {
        digest: digest_of(bytes),
        size: bytes.len() as u64,
        compression,
    };
    let progress = Progress::new(&ProgressSink::silent(), FetchPhase::Layers, layer.size);
    let blob = DigestReader::new(bytes, layer.size, progress, CancellationToken::new());
    unpack_layer(&layer, blob, staging, budget).await
}

async fn unpack(items: &[Item<'_>]) -> (tempfile::TempDir, Result<(), ImageError>) {
    let outer = tempfile::tempdir().unwrap();
    let staging = outer.path().join("staging");
    fs::create_dir(&staging).unwrap();
    let mut budget = LIMITS;
    let outcome = unpack_into(&staging, &tar(items), LayerCompression::None, &mut budget).await;
    (outer, outcome)
}

/// Everything below `outer`, with `->` for links; only `staging/disk` may hold anything.
fn listing(outer: &Path) -> Vec<String> {
    fn walk(directory: &Path, outer: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(outer).unwrap().display().to_string();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_symlink() {
                found.push(format!(
                    "{name} -> {}",
                    fs::read_link(&path).unwrap().display()
                ));
            } else if meta.is_dir() {
                found.push(format!("{name}/"));
                walk(&path, outer, found);
            } else {
                found.push(format!("{name} {}", meta.len()));
            }
        }
    }
    let mut found = Vec::new();
    walk(outer, outer, &mut found);
    found.sort();
    found
}

pub(in crate::images) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn only_the_disk_directory_is_kept_and_modes_are_not() {
    let (outer, outcome) = unpack(&[
        Item(b'5', "./", "", b""),
        Item(b'5', "./disk/", "", b""),
        Item(b'0', "./disk/vmlinuz", "", b"kernel"),
        Item(b'0', "disk/grub/x86_64-efi/http.mod", "", b"mod"),
        Item(b'2', "disk/kernel", "vmlinuz", b""),
        Item(b'1', "disk/vmlinuz-hard", "disk/vmlinuz", b""),
        Item(b'0', "etc/shadow", "", b"not for us"),
        Item(b'2', "etc/mtab", "/proc/mounts", b""),
    ])
    .await;
    outcome.unwrap();
    assert_eq!(
        listing(outer.path()),
        [
            "staging/",
            "staging/disk/",
            "staging/disk/grub/",
            "staging/disk/grub/x86_64-efi/",
            "staging/disk/grub/x86_64-efi/http.mod 3",
            "staging/disk/kernel -> vmlinuz",
            "staging/disk/vmlinuz 6",
            "staging/disk/vmlinuz-hard 6",
        ]
    );
    let mode = fs::metadata(outer.path().join("staging/disk/vmlinuz"))
        .unwrap()
        .permissions();
    let bits = std::os::unix::fs::PermissionsExt::mode(&mode);
    assert_eq!(
        bits & 0o7133,
        0,
        "no setuid, no execute, no group write: {bits:o}"
    );
}

#[tokio::test]
async fn layers_share_one_budget() {
    let (half, mut budget) = (vec![1_u8; 600 << 10], LIMITS);
    let layer = tar(&[Item(b'0', "disk/half", "", &half)]);
    let staging = tempfile::tempdir().unwrap();
    unpack_into(staging.path(), &layer, LayerCompression::None, &mut budget)
        .await
        .unwrap();
    let second = unpack_into(staging.path(), &layer, LayerCompression::None, &mut budget).await;
    assert_eq!(second.unwrap_err().reason(), "ImageTooLarge");
}

#[tokio::test]
async fn truncated_and_altered_layers_are_corrupt() {
    let archive = gzip(&tar(&[Item(b'0', "disk/x", "", &[7; 5000])]));
    let layer = Layer {
        digest: digest_of(&archive),
        size: archive.len() as u64,
        compression: LayerCompression::Gzip,
    };
    let mut altered = archive.clone();
    altered[20] ^= 1;
    let mut longer = archive.clone();
    longer.push(0);
    for (name, bytes) in [
        ("cut", &archive[..archive.len() - 9]),
        ("altered", &altered),
        ("longer", &longer),
    ] {
        let staging = tempfile::tempdir().unwrap();
        let progress = Progress::new(&ProgressSink::silent(), FetchPhase::Layers, layer.size);
        let blob = DigestReader::new(bytes, layer.size, progress, CancellationToken::new());
        let mut budget = LIMITS;
        let error = unpack_layer(&layer, blob, staging.path(), &mut budget)
            .await
            .expect_err(name);
        assert_eq!(error.reason(), "ImageDigestMismatch", "{name}: {error}");
    }
}

#[tokio::test]
async fn later_layers_replace_and_remove_what_earlier_ones_brought() {
    let staging = tempfile::tempdir().unwrap();
    let mut budget = LIMITS;
    for layer in [
        tar(&[
            Item(b'0', "disk/keep", "", b"1"),
            Item(b'0', "disk/change", "", b"1"),
            Item(b'0', "disk/remove", "", b"1"),
            Item(b'0', "disk/dir/a", "", b"1"),
            Item(b'0', "disk/dir/b", "", b"1"),
            Item(b'0', "disk/becomes-file/x", "", b"1"),
        ]),
        tar(&[
            Item(b'0', "disk/change", "", b"22"),
            Item(b'0', "disk/.wh.remove", "", b""),
            Item(b'0', "disk/dir/new", "", b"22"),
            Item(b'0', "disk/dir/.wh..wh..opq", "", b""),
            Item(b'0', "disk/becomes-file", "", b"22"),
            Item(b'0', "disk/absent/.wh.x", "", b""),
        ]),
    ] {
        unpack_into(staging.path(), &layer, LayerCompression::None, &mut budget)
            .await
            .unwrap();
    }
    assert_eq!(
        listing(staging.path()),
        [
            "disk/",
            "disk/becomes-file 2",
            "disk/change 2",
            "disk/dir/",
            "disk/dir/new 2",
            "disk/keep 1",
        ]
    );
}

mod any_input {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn nothing_is_written_outside_the_staging_directory(
            names in proptest::collection::vec("(disk/|\\.\\./|/|\\./|l/)?[a.l/]{1,12}", 1..6),
            links in proptest::collection::vec("[./al]{1,8}", 6),
            kinds in proptest::collection::vec(prop_oneof![Just(b'0'), Just(b'1'), Just(b'2'), Just(b'5')], 6),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let items: Vec<Item<'_>> = names
                .iter()
                .zip(&links)
                .zip(&kinds)
                .map(|((name, link), kind)| {
                    Item(*kind, name, if *kind == b'0' { "" } else { link }, if *kind == b'0' { b"x" } else { b"" })
                })
                .collect();
            let (outer, _) = runtime.block_on(unpack(&items));
            let outside: Vec<_> = listing(outer.path())
                .into_iter()
                .filter(|path| path != "staging/" && !path.starts_with("staging/disk"))
                .collect();
            prop_assert!(outside.is_empty(), "{:?}", outside);
        }
    }
}
