//! An answer before it is written, and how its head looks on the wire.
//!
//! Pure but for the open file it may hold. Invariant: header names are written in title case,
//! because GRUB 2.06 knows `Content-Length` in no other spelling, and every answer with content
//! has its length.

use std::fs::File;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{HeaderName, StatusCode};

use super::record::Record;

/// One answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// With `Content-Length` wherever the status allows one.
    pub(crate) headers: HeaderMap,
    pub(crate) content: Content,
    /// Notes how it went when dropped.
    pub(crate) record: Record,
}

/// What follows the head.
#[derive(Debug)]
pub(crate) enum Content {
    Empty,
    Memory(Bytes),
    File(FilePart),
}

/// Part of an open file.
#[derive(Debug)]
pub(crate) struct FilePart {
    pub(crate) file: File,
    pub(crate) first: u64,
    pub(crate) count: u64,
}

/// A short answer in words.
pub(crate) fn plain(status: StatusCode, text: &str, record: Record) -> Reply {
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    let text = Bytes::from(format!("{text}\n"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    Reply {
        status,
        headers,
        content: Content::Memory(text),
        record,
    }
}

/// Writes status line and headers, with `Date` unless there is one, and what becomes of the
/// connection where that is not what the client's version takes for granted.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    status: StatusCode,
    headers: &HeaderMap,
    date: &str,
    connection: Option<&str>,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        write_title_case(out, name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if !headers.contains_key(http::header::DATE) {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(date.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if let Some(connection) = connection {
        out.extend_from_slice(b"Connection: ");
        out.extend_from_slice(connection.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn write_title_case(out: &mut Vec<u8>, name: &HeaderName) {
    let mut first = true;
    for byte in name.as_str().bytes() {
        out.push(if first {
            byte.to_ascii_uppercase()
        } else {
            byte
        });
        first = byte == b'-';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_look_as_grub_expects_them() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(12));
        headers.insert("x-a-bc", HeaderValue::from_static("d e"));
        let mut out = Vec::new();
        write_head(&mut out, StatusCode::OK, &headers, "now", Some("close"));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX-A-Bc: d e\r\nDate: now\r\nConnection: close\r\n\r\n"
        );
    }
}
