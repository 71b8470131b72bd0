//! A path and headers as a machine might send them: nothing outside the root is named, and a part
//! of a file is a part of it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Component, Path},
    sync::OnceLock,
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use tempfile::TempDir;

use super::Input;
use crate::http::{
    conditional::{Validators, Verdict, evaluate},
    path::{clean, percent_decode},
    range::RangeRequest,
    request::{self, path_of},
    statics::look_up,
};

/// A root with a file, a link to it and a link that leads out.
fn root() -> &'static Path {
    static ROOT: OnceLock<TempDir> = OnceLock::new();
    let outer = ROOT.get_or_init(|| {
        let outer = TempDir::new().expect("creates");
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("a/b")).expect("creates");
        fs::write(outer.path().join("x"), b"outside").expect("writes");
        fs::write(root.join("x"), b"inside").expect("writes");
        fs::write(root.join("a/b/c"), b"inside").expect("writes");
        symlink("../x", root.join("l")).expect("links");
        symlink("../../x", root.join("a/d")).expect("links");
        symlink("a", root.join("i")).expect("links");
        outer
    });
    outer.path()
}

/// One line of path, then lines of headers; the first bytes are the length of the file.
pub fn http(data: &[u8]) {
    let mut input = Input(data);
    let length = match input.byte() {
        0 => u64::MAX,
        shift => u64::from(input.number()) << (shift % 48),
    };
    let rest = input.rest();
    head_holds(rest);
    let mut lines = rest.split(|byte| *byte == b'\n');
    if let Some(path) = lines.next().and_then(|line| std::str::from_utf8(line).ok()) {
        path_holds(path);
        if let Ok(uri) = path.parse::<http::Uri>() {
            path_holds(uri.path());
        }
    }
    let headers: HeaderMap = lines.take(50).filter_map(header_of).collect();
    conditions_hold(&headers, length);
}

/// Also as a whole request: a head is what it says, however much of it is there.
fn head_holds(bytes: &[u8]) {
    let Ok(Some((head, taken))) = request::parse(bytes) else {
        return;
    };
    let cut = bytes.get(..taken).expect("takes what is there");
    let again = request::parse(cut).expect("parses").expect("is whole").0;
    assert_eq!(
        (again.target, again.framing),
        (head.target.clone(), head.framing)
    );
    if let Some(path) = path_of(&head.target) {
        path_holds(path);
    }
}

fn path_holds(path: &str) {
    for spelling in [Some(path.to_owned()), percent_decode(path)]
        .into_iter()
        .flatten()
    {
        let Ok(name) = clean(&spelling) else { continue };
        assert_eq!(
            clean(&name).as_deref(),
            Ok(name.as_str()),
            "cleaning is final"
        );
        let inside = Path::new(&name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        assert!(
            inside && !name.is_empty() && !name.contains('\0'),
            "{name:?}"
        );
        let root = root().join("root");
        if let Some((found, _)) = look_up(&root, &name) {
            let real = fs::canonicalize(&root).expect("resolves");
            assert!(found.starts_with(&real), "{name:?} is {}", found.display());
            assert_eq!(fs::read(&found).expect("reads"), b"inside");
        }
    }
}

fn header_of(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    // A short name for each header that matters, so that a fuzzer finds them.
    let (name, value) = line.split_first()?;
    let name = match name {
        b'r' => header::RANGE,
        b'n' => header::IF_NONE_MATCH,
        b'm' => header::IF_MODIFIED_SINCE,
        b'i' => header::IF_RANGE,
        _ => HeaderName::from_bytes(line.get(..4)?).ok()?,
    };
    Some((name, HeaderValue::from_bytes(value).ok()?))
}

fn conditions_hold(headers: &HeaderMap, length: u64) {
    for modified in [None, Some(Timestamp::UNIX_EPOCH)] {
        let validators = Validators {
            etag: "\"sha256:00\"",
            modified,
        };
        let conditional = headers.contains_key(header::IF_NONE_MATCH)
            || headers.contains_key(header::IF_MODIFIED_SINCE);
        match evaluate(headers, &validators, length) {
            Verdict::NotModified => assert!(conditional, "304 to an unconditional request"),
            Verdict::Send(RangeRequest::Whole) => {}
            Verdict::Send(RangeRequest::Unsatisfiable) => {
                assert!(headers.contains_key(header::RANGE), "416 without a range");
            }
            Verdict::Send(RangeRequest::Part { first, last }) => {
                assert!(headers.contains_key(header::RANGE), "206 without a range");
                assert!(first <= last && last < length, "{first}-{last} of {length}");
            }
        }
    }
}
