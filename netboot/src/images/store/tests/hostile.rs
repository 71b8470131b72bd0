//! Archives that somebody made to do harm, as layers of whole images: each is refused by name, or
//! unpacked without harm, and leaves nothing outside its place and nothing half-done.

use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::images::unpack::tests::{Item, gzip, header, pax, tar};

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

fn names() -> Vec<Case> {
    let deep = "a/".repeat(40);
    let long = format!("disk/{}\0", "n".repeat(300));
    let nul = pax(&[("path", "disk/a\0/../../escape")]);
    vec![
        refused("absolute path", &[file("/disk/x")], "absolute path"),
        refused(
            "absolute path elsewhere",
            &[file("/tmp/metalman-test-escape")],
            "absolute path",
        ),
        refused("dot dot", &[file("disk/../../escape")], ".. in its path"),
        refused("leading dot dot", &[file("../escape")], ".. in its path"),
        refused("closing dot dot", &[directory("disk/..")], ".. in its path"),
        refused(
            "dot dot outside disk",
            &[file("etc/../../escape")],
            ".. in its path",
        ),
        refused(
            "whiteout behind dot dot",
            &[file("disk/../.wh.escape")],
            ".. in its path",
        ),
        refused("backslash", &[file("disk\\..\\escape")], "backslashes"),
        refused(
            "control character",
            &[file("disk/a\nb")],
            "control characters",
        ),
        refused("deep", &[file(&deep)], "nested too deeply"),
        refused(
            "long name",
            &[Item(b'L', "L", "", long.as_bytes()), file("disk/f")],
            "too long",
        ),
        refused(
            "NUL in a name",
            &[Item(b'x', "x", "", &nul), file("disk/f")],
            "control characters",
        ),
        Case(
            "not UTF-8",
            "tar",
            altered(|block| block[5] = 0xff),
            Refused(HOSTILE, "not UTF-8"),
        ),
        refused("twice", &[file("disk/f"), file("disk/f")], "named twice"),
        refused(
            "twice, spelt otherwise",
            &[file("disk/f"), file("./disk//f")],
            "named twice",
        ),
        refused(
            "disk is a file",
            &[file("disk")],
            "replaces the disk directory",
        ),
        refused(
            "file as directory",
            &[file("disk/f"), file("disk/f/x")],
            "passes through a file",
        ),
        refused(
            "file over its directory",
            &[file("disk/d/x"), file("disk/d")],
            "replaces a directory",
        ),
        Case(
            "whiteouts of nothing and of the parent",
            "tar",
            tar(&[
                file("disk/f"),
                file("disk/.wh.absent"),
                file("disk/.wh..wh..opq"),
                file("disk/.wh..."),
            ]),
            Unpacked(&[".wh... 1", "f 1"]),
        ),
    ]
}

fn links() -> Vec<Case> {
    vec![
        refused(
            "absolute link",
            &[symbolic("disk/l", "/etc/passwd")],
            "links to an absolute path",
        ),
        refused(
            "climbing link",
            &[symbolic("disk/l", "../../escape")],
            "links out of the disk",
        ),
        refused(
            "link to the parent",
            &[symbolic("disk/l", "..")],
            "links out of the disk",
        ),
        refused(
            "link through a name",
            &[symbolic("disk/d/l", "x/../../../e")],
            "through .. after a name",
        ),
        refused("empty link", &[symbolic("disk/l", "")], "empty or too long"),
        refused(
            "file through a link",
            &[symbolic("disk/l", "."), file("disk/l/x")],
            "passes through a symbolic link",
        ),
        refused(
            "directory through a link",
            &[symbolic("disk/l", "d"), directory("disk/l/x")],
            "passes through a symbolic link",
        ),
        refused(
            "link as directory",
            &[symbolic("disk/l", "d"), directory("disk/l")],
            "passes through a symbolic link",
        ),
        refused(
            "file over a link",
            &[symbolic("disk/l", "v"), file("disk/l")],
            "named twice",
        ),
        refused(
            "file through two links",
            &[
                symbolic("disk/a", "."),
                symbolic("disk/b", "a"),
                file("disk/b/x"),
            ],
            "passes through a symbolic link",
        ),
        refused(
            "disk is a link",
            &[symbolic("disk", "/tmp")],
            "replaces the disk directory",
        ),
    ]
}

fn hard_links() -> Vec<Case> {
    vec![
        refused(
            "hard link out",
            &[hard("disk/h", "/etc/passwd")],
            "links out of the image",
        ),
        refused(
            "hard link up",
            &[hard("disk/h", "../../etc/passwd")],
            "links out of the image",
        ),
        refused(
            "hard link beside disk",
            &[hard("disk/h", "etc/passwd")],
            "links out of the disk directory",
        ),
        refused(
            "hard link to nothing",
            &[hard("disk/h", "disk/absent")],
            "not there",
        ),
        refused(
            "hard link to itself",
            &[hard("disk/h", "disk/h")],
            "not there",
        ),
        refused(
            "hard link to a link",
            &[symbolic("disk/l", "v"), hard("disk/h", "disk/l")],
            "not a plain file",
        ),
        refused(
            "hard link to a directory",
            &[directory("disk/d"), hard("disk/h", "disk/d")],
            "not a plain file",
        ),
        Case(
            "links that go nowhere",
            "tar",
            tar(&[symbolic("disk/l", "absent"), symbolic("disk/me", "me")]),
            Unpacked(&["l -> absent", "me -> me"]),
        ),
    ]
}

fn kinds() -> Vec<Case> {
    let item = |kind, name| [Item(kind, name, "", b"")];
    let sparse = pax(&[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", "99999999999"),
    ]);
    vec![
        refused("character device", &item(b'3', "disk/null"), "is a device"),
        refused(
            "block device beside disk",
            &item(b'4', "dev/sda"),
            "is a device",
        ),
        refused("pipe", &item(b'6', "disk/pipe"), "is a device or a pipe"),
        refused("sparse", &item(b'S', "disk/s"), "sparse entry"),
        refused(
            "volume label",
            &item(b'V', "disk/v"),
            "of a kind that images do not need",
        ),
        refused(
            "part of another volume",
            &item(b'M', "disk/m"),
            "of a kind that images do not need",
        ),
        refused(
            "unknown kind",
            &item(b'Z', "disk/z"),
            "of a kind that images do not need",
        ),
        Case(
            "sparse by extended headers",
            "tar",
            tar(&[Item(b'x', "x", "", &sparse), file("disk/s")]),
            Unpacked(&["s 1"]),
        ),
        Case(
            "set-user-ID, set-group-ID, sticky, owned by root",
            "tar",
            altered(|block| block[100..108].copy_from_slice(b"0007777\0")),
            Unpacked(&["f 1"]),
        ),
    ]
}

/// `disk/plain`, whose size is said twice: in its header, and before it in an extended one.
fn two_sizes(in_pax: usize, in_header: u64, rest: &[u8]) -> Vec<u8> {
    let mut archive = tar(&[Item(b'x', "x", "", &pax(&[("size", &in_pax.to_string())]))]);
    archive.truncate(archive.len() - 1024);
    archive.extend(header(b'0', "disk/plain", "", in_header));
    archive.extend(rest);
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn headers() -> Vec<Case> {
    let (path, link) = (
        pax(&[("path", "../escape")]),
        pax(&[("linkpath", "/etc/passwd")]),
    );
    let huge = vec![b'a'; 3 << 20];
    vec![
        refused(
            "extended path",
            &[Item(b'x', "x", "", &path), file("disk/f")],
            ".. in its path",
        ),
        refused(
            "extended link",
            &[Item(b'x', "x", "", &link), symbolic("disk/f", "v")],
            "links to an absolute path",
        ),
        refused(
            "GNU long name",
            &[Item(b'L', "L", "", b"/abs\0"), file("disk/f")],
            "absolute path",
        ),
        refused(
            "GNU long link",
            &[
                Item(b'K', "K", "", b"/etc/passwd\0"),
                symbolic("disk/f", "v"),
            ],
            "links to an absolute path",
        ),
        refused(
            "huge long name",
            &[Item(b'L', "L", "", &huge), file("disk/f")],
            "more bytes than this part",
        ),
        refused(
            "huge extended header",
            &[Item(b'x', "x", "", &huge), file("disk/f")],
            "more bytes than this part",
        ),
        refused(
            "extended header that is none",
            &[Item(b'x', "x", "", b"99 path"), file("disk/f")],
            "pax",
        ),
        Case(
            "path for all that follows",
            "tar",
            tar(&[Item(b'g', "g", "", &path), file("disk/f")]),
            Unpacked(&["f 1"]),
        ),
    ]
}

fn sizes() -> Vec<Case> {
    let smuggled = tar(&[file("disk/smuggled")]);
    let negative = |block: &mut [u8]| block[124..136].fill(0xff);
    let endless = |block: &mut [u8]| {
        block[124..136].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    };
    let mut unsigned = tar(&[file("disk/f")]);
    unsigned[0] ^= 1;
    vec![
        // The size of the extended header counts, not the one beside it (CVE-2025-62518).
        Case(
            "sizes that disagree, the header's is smaller",
            "tar",
            two_sizes(smuggled.len(), 0, &smuggled),
            Unpacked(&["plain 2048"]),
        ),
        Case(
            "sizes that disagree, the header's is larger",
            "tar",
            two_sizes(0, smuggled.len() as u64, &smuggled),
            Unpacked(&["plain 0", "smuggled 1"]),
        ),
        Case(
            "negative size",
            "tar",
            altered(negative),
            Refused(HOSTILE, "size overflow"),
        ),
        Case(
            "endless size",
            "tar",
            altered(endless),
            Refused("ImageTooLarge", "unpacked size"),
        ),
        Case(
            "wrong checksum",
            "tar",
            unsigned,
            Refused(HOSTILE, "checksum"),
        ),
    ]
}

/// Zstandard of `head`, then `count` times `block`; made without holding what it means.
fn repeated(head: &[u8], block: &[u8], count: u64) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(head).unwrap();
    for _ in 0..count {
        encoder.write_all(block).unwrap();
    }
    encoder.finish().unwrap()
}

fn amounts() -> Vec<Case> {
    let zeros = vec![0; 1 << 20];
    let entry = header(b'5', "disk/d", "", 0).repeat(100);
    // The size in binary, since twelve octal digits end at 64 GiB.
    let huge = altered(|block| block[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\x02\x80\0\0\0"));
    let mut window = zstd::Encoder::new(Vec::new(), 1).unwrap();
    window.window_log(27).unwrap();
    window.write_all(&zeros).unwrap();
    window.write_all(&tar(&[file("disk/f")])).unwrap();
    vec![
        Case(
            "a million entries",
            "tar+zstd",
            repeated(&[], &entry, 10_000),
            Refused("ImageTooLarge", "number of entries"),
        ),
        Case(
            "10 GiB of zeros",
            "tar+zstd",
            repeated(huge.get(..512).unwrap(), &zeros, 10 << 10),
            Refused("ImageTooLarge", "unpacked size"),
        ),
        Case(
            "zeros behind the end",
            "tar+zstd",
            repeated(&tar(&[file("disk/f")]), &zeros, 64),
            Refused(HOSTILE, "more bytes than this part"),
        ),
        Case(
            "window of 128 MiB",
            "tar+zstd",
            window.finish().unwrap(),
            Refused(HOSTILE, ""),
        ),
    ]
}

/// Archives that end too early, too late or not at all.
fn ends() -> Vec<Case> {
    let whole = tar(&[Item(b'0', "disk/f", "", &[7; 5000])]);
    let packed = gzip(&whole);
    let two = [
        gzip(&tar(&[file("disk/f")])),
        gzip(&tar(&[file("disk/hidden")])),
    ]
    .concat();
    let behind = [tar(&[file("disk/f")]), tar(&[file("disk/hidden")])].concat();
    let mut endless = tar(&[file("disk/f")]);
    endless.truncate(1024);
    let cut = |bytes: &[u8], at: usize| bytes.get(..at).unwrap().to_vec();
    vec![
        Case(
            "cut in a file",
            "tar",
            cut(&whole, 3000),
            Refused(HOSTILE, ""),
        ),
        Case(
            "cut in a header",
            "tar",
            cut(&whole, 300),
            Refused(HOSTILE, ""),
        ),
        Case(
            "cut in its compression",
            "tar+gzip",
            cut(&packed, packed.len() - 9),
            Refused(HOSTILE, ""),
        ),
        Case(
            "compressed otherwise than it says",
            "tar+gzip",
            whole.clone(),
            Refused(HOSTILE, ""),
        ),
        Case("without an end", "tar", endless, Unpacked(&["f 1"])),
        Case(
            "another archive behind the end",
            "tar",
            behind,
            Unpacked(&["f 1"]),
        ),
        Case(
            "another compressed archive behind",
            "tar+gzip",
            two,
            Unpacked(&["f 1"]),
        ),
    ]
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
        names(),
        links(),
        hard_links(),
        kinds(),
        headers(),
        sizes(),
        amounts(),
        ends(),
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
