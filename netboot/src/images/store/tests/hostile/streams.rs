//! Headers, sizes and compression that lie, and archives that end where they should not.

use std::io::Write as _;

use super::*;
use crate::images::unpack::tests::{gzip, header, pax};

/// `disk/plain`, whose size is said twice: in its header, and before it in an extended one.
fn two_sizes(in_pax: usize, in_header: u64, rest: &[u8]) -> Vec<u8> {
    let mut archive = tar(&[Item(b'x', "x", "", &pax(&[("size", &in_pax.to_string())]))]);
    archive.truncate(archive.len() - 1024);
    archive.extend(header(b'0', "disk/plain", "", in_header));
    archive.extend(rest);
    archive.resize(archive.len() + 1024, 0);
    archive
}

pub(super) fn headers() -> Vec<Case> {
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

pub(super) fn sizes() -> Vec<Case> {
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

pub(super) fn amounts() -> Vec<Case> {
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
pub(super) fn ends() -> Vec<Case> {
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
