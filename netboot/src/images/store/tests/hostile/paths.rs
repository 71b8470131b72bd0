//! Entries whose name, target or kind is the harm.

use super::*;
use crate::images::unpack::tests::pax;

pub(super) fn names() -> Vec<Case> {
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

pub(super) fn links() -> Vec<Case> {
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

pub(super) fn hard_links() -> Vec<Case> {
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

pub(super) fn kinds() -> Vec<Case> {
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
