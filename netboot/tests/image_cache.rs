//! The image cache as a process of its own: how much memory hostile images take, what a kill and a
//! full disk leave behind. Each test runs itself again as a child where it needs one.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use netboot::directory::Architecture;
use netboot::images::{
    CollectionGoal, ImageError, ImageReference, ImageStore, ImageStoreOptions, ProgressSink,
    UnpackedImage,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

const MIB: u64 = 1 << 20;
/// Marks the folder of a child; a test without it is not one and has nothing to do.
const CHILD: &str = "run-as-child";

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// A ustar header.
fn header(kind: u8, name: &str, size: u64) -> Vec<u8> {
    let mut block = vec![0_u8; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = header(b'0', name, content.len() as u64);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A layout of one image with one layer; returns the file of the layer.
fn layout(directory: &Path, layer: &[u8], compression: &str) -> PathBuf {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |bytes: &[u8]| {
        let digest = digest(bytes);
        let path = blobs.join(digest.trim_start_matches("sha256:"));
        fs::write(&path, bytes).unwrap();
        (digest, path)
    };
    let (layer_digest, path) = blob(layer);
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "layers": [{
        "mediaType": format!("application/vnd.oci.image.layer.v1.tar{compression}"),
        "digest": layer_digest, "size": layer.len()}]})
    .to_string();
    let (manifest_digest, _) = blob(manifest.as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": kind, "digest": manifest_digest, "size": manifest.len()}]});
    fs::write(directory.join("index.json"), index.to_string()).unwrap();
    path
}

fn reference(directory: &Path) -> ImageReference {
    format!("oci-layout:{}", directory.display())
        .parse()
        .unwrap()
}

async fn obtain(store: &ImageStore, layout: &Path) -> Result<Arc<UnpackedImage>, ImageError> {
    store
        .obtain(
            &reference(layout),
            Architecture::Amd64,
            None,
            ProgressSink::silent(),
        )
        .await
}

/// Names in the cache that are no complete image and no file of the store.
fn leftovers(cache: &Path) -> Vec<String> {
    fs::read_dir(cache.join("oci"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect()
}

/// Peak of resident memory in KiB since the last reset.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .and_then(|number| number.parse().ok())
        .unwrap()
}

#[tokio::test]
async fn bombs_are_stopped_in_64_mib_of_memory() {
    let dir = tempfile::tempdir().unwrap();
    // 10 GB of zeros, said to be one file: 1000 members of 10 MB each.
    let zeros = gzip(&vec![0; 10_000_000]);
    let mut one_file = gzip(&header(b'0', "disk/zeros", 10_000_000_000));
    // The same as 1000 files, in the part of the image that is not even kept.
    let mut many_files = Vec::new();
    // 10^6 directories, each header a million times the same.
    let mut entries = Vec::new();
    let names = gzip(&header(b'5', "disk/d/", 0).repeat(1000));
    let file = gzip(&header(b'0', "elsewhere/zeros", 10_000_000));
    let padding = gzip(&[0; 10_000_000_usize.next_multiple_of(512) - 10_000_000]);
    for _ in 0..1000 {
        one_file.extend(&zeros);
        many_files.extend([&file[..], &zeros, &padding].concat());
        entries.extend(&names);
    }
    // A window of 128 MiB, which zstd itself would still take.
    let mut window = zstd::Encoder::new(Vec::new(), 1).unwrap();
    window.long_distance_matching(true).unwrap();
    window.window_log(27).unwrap();
    window.write_all(&tar("disk/x", &vec![7; 1 << 20])).unwrap();
    let window = window.finish().unwrap();
    // A name of 2 GB, as an extended header.
    let mut long_name = gzip(&header(b'L', "././@LongLink", 2_000_000_000));
    for _ in 0..200 {
        long_name.extend(&zeros);
    }
    let options = ImageStoreOptions {
        max_unpacked_bytes: 64 * MIB,
        ..ImageStoreOptions::default()
    };
    let cache = dir.path().join("cache");
    let store = ImageStore::open(&cache, options).unwrap();
    let mut told = Vec::new();
    for (name, layer, compression, reason) in [
        ("one file", one_file, "+gzip", "ImageTooLarge"),
        ("many files", many_files, "+gzip", "ImageTooLarge"),
        ("entries", entries, "+gzip", "ImageTooLarge"),
        ("window", window, "+zstd", "ImageRefused"),
        ("long name", long_name, "+gzip", "ImageRefused"),
    ] {
        let from = dir.path().join(name);
        layout(&from, &layer, compression);
        let compressed = layer.len();
        drop(layer);
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = peak_kib();
        let error = obtain(&store, &from).await.expect_err(name);
        let used = peak_kib().saturating_sub(before) / 1024;
        told.push(format!("{name}: {compressed} bytes, {used} MiB, {error}"));
        assert_eq!(error.reason(), reason, "{name}: {error}");
        assert!(used <= 64, "{told:#?}");
        assert!(leftovers(&cache).is_empty(), "{name}");
    }
    println!("{told:#?}");
}

/// The test program again, doing what one of its tests does in the folder `dir`.
fn again(wrapper: &[&str], test: &str, dir: &Path) -> Command {
    fs::write(dir.join(CHILD), "").unwrap();
    let program = std::env::current_exe().unwrap();
    let mut words: Vec<String> = wrapper.iter().map(|&word| word.to_owned()).collect();
    words.push(program.display().to_string());
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .args(["--exact", test, "--nocapture"])
        .current_dir(dir);
    command
}

/// Killed at the end, whatever happens.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn a_killed_fetch_leaves_what_was_complete_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    layout(&path("first"), &tar("disk/name", b"first"), "");
    let second = tar("disk/name", &vec![b'2'; 4 << 20]);
    let blob = layout(&path("second"), &second, "");
    // The layer comes through a pipe, half of it.
    fs::remove_file(&blob).unwrap();
    let made = Command::new("mkfifo").arg(&blob).status().unwrap();
    assert!(made.success());
    let child = again(&[], "child_fetches_until_it_is_killed", dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let mut pipe = fs::OpenOptions::new().write(true).open(&blob).unwrap();
    pipe.write_all(&second[..3 << 20]).unwrap();
    let output = BufReader::new(child.0.stdout.take().unwrap());
    let seen = output
        .lines()
        .map(Result::unwrap)
        .find(|line| line.contains("unpacked 2 MiB"));
    assert!(seen.is_some(), "the child tells how far it is");
    assert_eq!(leftovers(&path("cache")).len(), 1, "it was in the middle");
    drop(child);
    drop(pipe);
    fs::remove_file(&blob).unwrap();

    let store = ImageStore::open(&path("cache"), ImageStoreOptions::default()).unwrap();
    assert_eq!(leftovers(&path("cache")), Vec::<String>::new());
    let remembered = store
        .remembered(&reference(&path("first")), Architecture::Amd64)
        .unwrap();
    let image = store.get(&remembered.digest).unwrap();
    assert_eq!(fs::read(image.root.join("name")).unwrap(), b"first");
    let second_known = store.remembered(&reference(&path("second")), Architecture::Amd64);
    assert_eq!(second_known, None, "it never was complete");
    fs::write(&blob, &second).unwrap();
    let image = obtain(&store, &path("second")).await.unwrap();
    assert_eq!(
        fs::metadata(image.root.join("name")).unwrap().len(),
        4 << 20
    );
}

#[tokio::test]
async fn child_fetches_until_it_is_killed() {
    let here = std::env::current_dir().unwrap();
    if !here.join(CHILD).exists() {
        return;
    }
    let store = ImageStore::open(&here.join("cache"), ImageStoreOptions::default()).unwrap();
    obtain(&store, &here.join("first")).await.unwrap();
    let sink = ProgressSink::new(|progress| {
        println!("unpacked {} MiB", progress.bytes / MIB);
    });
    let second = reference(&here.join("second"));
    store
        .obtain(&second, Architecture::Amd64, None, sink)
        .await
        .unwrap();
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test switch of the whole project"
)]
fn a_full_disk_is_told_and_leaves_the_cache_as_it_was() {
    let namespaces = Command::new("unshare").args(["-Urm", "true"]).status();
    if !namespaces.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var("METALMAN_TEST_STRICT").as_deref() != Ok("1"),
            "no user namespaces here, which a small file system is mounted in"
        );
        eprintln!("SKIPPED: no user namespaces here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("cache")).unwrap();
    let mount = "mount -t tmpfs -o size=8m tmpfs cache && exec \"$@\"";
    let wrapper = ["unshare", "-Urm", "sh", "-c", mount, "sh"];
    let ended = again(&wrapper, "child_fills_its_disk", dir.path())
        .status()
        .unwrap();
    assert!(ended.success());
}

#[tokio::test]
async fn child_fills_its_disk() {
    let here = std::env::current_dir().unwrap();
    if !here.join(CHILD).exists() {
        return;
    }
    let noise = |seed: u64, size: usize| {
        // No compression and no hole may save space.
        let mut state = seed;
        let bytes = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        });
        bytes.take(size).collect::<Vec<u8>>()
    };
    for (name, mib) in [("small", 3), ("large", 12), ("fits", 6)] {
        let content = noise(mib, usize::try_from(mib << 20).unwrap());
        layout(&here.join(name), &tar("disk/name", &content), "");
    }
    let cache = here.join("cache");
    let store = ImageStore::open(&cache, ImageStoreOptions::default()).unwrap();
    let small = obtain(&store, &here.join("small")).await.unwrap();
    for name in ["large", "fits"] {
        let error = obtain(&store, &here.join(name)).await.unwrap_err();
        assert_eq!(error.reason(), "ImageCacheFull", "{error}");
        assert!(error.is_transient(), "somebody may free space");
        assert!(error.to_string().contains("images.cache_size"), "{error}");
        assert_eq!(leftovers(&cache), Vec::<String>::new());
    }
    assert_eq!(store.get(&small.digest).as_ref(), Some(&small));
    // What nobody holds or needs makes room.
    let digest = small.digest.clone();
    drop(small);
    let round = store.begin_collection();
    let goal = CollectionGoal::Everything;
    let collected = store.collect(round, [].into(), goal).await.unwrap();
    assert_eq!(collected.removed, [digest]);
    obtain(&store, &here.join("fits")).await.unwrap();
}
