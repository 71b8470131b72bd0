//! Archives that somebody made to do harm, as layers of whole images: each is refused by name, or
//! unpacked without harm, and leaves nothing outside its place and nothing half-done.

use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::images::unpack::tests::{Item, tar};

mod paths;
mod streams;

/// What becomes of an archive.
enum Expected {
    /// Reason of the refusal, and words of its message.
    Refused(&'static str, &'static str),
    /// What `disk/` holds afterwards: name and size, or name and target of a link.
    Unpacked(&'static [&'static str]),
}
use Expected::{Refused, Unpacked};

const HOSTILE: &str = "ImageRefused";

/// A layer: what it is called here, how it is packed, its bytes.
struct Case(&'static str, &'static str, Vec<u8>, Expected);

/// An archive whose entries are refused.
fn refused(name: &'static str, items: &[Item<'_>], words: &'static str) -> Case {
    Case(name, "tar", tar(items), Refused(HOSTILE, words))
}

fn file(name: &str) -> Item<'_> {
    Item(b'0', name, "", b"x")
}

fn directory(name: &str) -> Item<'_> {
    Item(b'5', name, "", b"")
}

fn symbolic<'a>(name: &'a str, target: &'a str) -> Item<'a> {
    Item(b'2', name, target, b"")
}

fn hard<'a>(name: &'a str, target: &'a str) -> Item<'a> {
    Item(b'1', name, target, b"")
}

/// The archive of one file `disk/f` of one byte, its header changed and signed again.
fn altered(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut archive = tar(&[file("disk/f")]);
    let (block, _) = archive.split_at_mut(512);
    change(block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive
}

/// Everything below a directory, which is left out of the names.
fn listing(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let name =
                String::from_utf8_lossy(path.strip_prefix(root).unwrap().as_os_str().as_bytes())
                    .into_owned();
            if meta.is_symlink() {
                found.push(format!(
                    "{name} -> {}",
                    fs::read_link(&path).unwrap().display()
                ));
            } else if meta.is_dir() {
                directories.push(path);
            } else {
                assert_eq!(
                    meta.permissions().mode() & 0o7133,
                    0,
                    "{name}: no set-ID, nothing to run, no other writer"
                );
                found.push(format!("{name} {}", meta.len()));
            }
        }
    }
    found.sort();
    found
}

/// What is not as expected.
async fn check(Case(name, kind, layer, expected): Case) -> Option<String> {
    let outer = tempfile::tempdir().unwrap();
    let cache = outer.path().join("deep/in/cache");
    let options = ImageStoreOptions {
        max_unpacked_bytes: 1 << 30,
        ..ImageStoreOptions::default()
    };
    let store = ImageStore::open(&cache, options).unwrap();
    let layout = LayoutDir::new();
    layout.index(&[layout.layer(&layer, kind, None)]);
    let reference = layout.reference("");
    let outcome = store
        .obtain(
            &reference,
            Architecture::Amd64,
            None,
            ProgressSink::silent(),
        )
        .await;
    let images: Vec<_> = fs::read_dir(cache.join("oci"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let wrong = match (expected, outcome) {
        (Refused(reason, words), Err(error)) => {
            let says = crate::images::error::chain(&error);
            let as_told = error.reason() == reason && says.contains(words);
            let is_clean = images.is_empty() && !error.is_transient();
            (!as_told || !is_clean).then(|| format!("{}: {says}; left {images:?}", error.reason()))
        }
        (Unpacked(want), Ok(image)) => {
            let found = listing(&image.root);
            let own = format!("sha256_{}", image.digest.trim_start_matches("sha256:"));
            (found != want || images != [own])
                .then(|| format!("unpacked {found:?}, left {images:?}"))
        }
        (Refused(..), Ok(image)) => Some(format!("not refused: {:?}", listing(&image.root))),
        (Unpacked(_), Err(error)) => Some(format!("refused: {error}")),
    };
    fs::remove_dir_all(&cache).unwrap();
    let outside = listing(outer.path());
    assert!(outside.is_empty(), "{name} wrote {outside:?}");
    assert!(!Path::new("/tmp/metalman-test-escape").exists(), "{name}");
    wrong.map(|wrong| format!("{name}: {wrong}"))
}

/// Largest resident memory of this process so far, in KiB (proc(5), `VmHWM`).
fn most_memory() -> u64 {
    let mut text = String::new();
    let mut status = fs::File::open("/proc/self/status").unwrap();
    status.read_to_string(&mut text).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn no_archive_does_harm() {
    let (mut seen, mut wrong) = (std::collections::HashSet::new(), Vec::new());
    for cases in [
        paths::names(),
        paths::links(),
        paths::hard_links(),
        paths::kinds(),
        streams::headers(),
        streams::sizes(),
        streams::amounts(),
        streams::ends(),
    ] {
        for case in cases {
            assert!(seen.insert(case.0), "{} twice", case.0);
            wrong.extend(check(case).await);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen.len() >= 60, "{}", seen.len());
    assert!(most_memory() < 64 << 10, "{} KiB", most_memory());
}
