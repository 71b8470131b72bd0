//! The bytes of a connection as anybody might send them: what is read as a request is one, whole,
//! and nothing of the next.

use http::{HeaderMap, Method};

use crate::http::request::{self, Framing, HEAD_BYTES, MAX_HEADERS, RequestHead};

/// Requests of one connection that are looked at.
const AHEAD: usize = 16;

/// Requests sent one after the other, with their bodies.
pub fn request(data: &[u8]) {
    let mut rest = data;
    for _ in 0..AHEAD {
        let Ok(Some((head, taken))) = request::parse(rest) else {
            return;
        };
        let (bytes, behind) = rest.split_at(taken);
        assert!(
            taken > 0 && taken <= rest.len(),
            "{taken} of {}",
            rest.len()
        );
        is_found_however_it_comes(bytes, behind);
        says_what_it_says(&head, bytes);
        let Framing::Length(length) = head.framing else {
            return;
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        rest = behind.get(length..).unwrap_or_default();
    }
}

/// A head is complete at its last byte: not before, and whatever follows.
fn is_found_however_it_comes(bytes: &[u8], behind: &[u8]) {
    for end in 0..bytes.len() {
        let part = bytes.get(..end).expect("is shorter");
        let found = request::parse(part);
        assert!(
            matches!(found, Ok(None)),
            "{end} of {}: {found:?}",
            bytes.len()
        );
    }
    // The server looks again only when this says so, whatever it had seen before.
    for seen in 0..bytes.len() {
        assert!(
            request::may_be_complete(bytes, seen),
            "not looked at again after {seen}"
        );
    }
    let alone = request::parse(bytes).expect("parses").expect("is whole");
    assert_eq!(
        alone.1,
        bytes.len(),
        "with and without {} bytes behind",
        behind.len()
    );
}

/// The parts of a head against another, simpler reading of its lines.
fn says_what_it_says(head: &RequestHead, bytes: &[u8]) {
    assert!(bytes.len() <= HEAD_BYTES + 1 || head.headers.len() <= MAX_HEADERS);
    assert!(
        !head.target.bytes().any(|byte| byte <= b' '),
        "{:?}",
        head.target
    );
    let fields = |name: &str| fields_of(bytes, name);
    same(&head.headers, "content-length", &fields("content-length"));
    same(
        &head.headers,
        "transfer-encoding",
        &fields("transfer-encoding"),
    );
    match head.framing {
        Framing::Length(length) => {
            assert!(
                fields("transfer-encoding").is_empty(),
                "both framings at once"
            );
            for value in fields("content-length") {
                let said = std::str::from_utf8(value).expect("digits");
                assert!(said.bytes().all(|byte| byte.is_ascii_digit()), "{said:?}");
                assert_eq!(said.parse(), Ok(length), "one length of several");
            }
        }
        Framing::Elsewhere => {
            let why = fields("transfer-encoding").len() + fields("expect").len();
            assert!(why > 0, "plain, but given away");
        }
    }
    if head.method == Method::CONNECT {
        assert_eq!(request::path_of(&head.target), None, "not a path");
    }
}

/// Values of a field, line by line. Empty lines before the request line are none of the head.
fn fields_of<'a>(bytes: &'a [u8], name: &str) -> Vec<&'a [u8]> {
    let mut values = Vec::new();
    let lines = bytes.split(|byte| *byte == b'\n');
    for line in lines
        .skip_while(|line| line.trim_ascii().is_empty())
        .skip(1)
    {
        let Some(at) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (found, value) = line.split_at(at);
        if found.eq_ignore_ascii_case(name.as_bytes()) {
            values.push(value.get(1..).unwrap_or_default().trim_ascii());
        }
    }
    values
}

fn same(headers: &HeaderMap, name: &str, lines: &[&[u8]]) {
    let found: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect();
    assert_eq!(found, lines, "{name}");
}
