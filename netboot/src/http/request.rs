//! The head of a request, from bytes (RFC 9112 sections 2 to 6).
//!
//! Pure. What is not plain is left to a general server. Invariant: the length of a body is never
//! guessed: it is none, one agreed number, or not ours to read.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Method, StatusCode};

/// Header lines of one request.
pub(crate) const MAX_HEADERS: usize = 64;
/// Largest request head.
pub(crate) const HEAD_BYTES: usize = 16 << 10;

/// A request without its body.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    /// As written: a path with its query, or a whole URL.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    /// Whether the client speaks HTTP/1.1.
    pub(crate) is_11: bool,
    /// Whether the client means to ask again on this connection.
    pub(crate) keep_alive: bool,
    pub(crate) framing: Framing,
}

/// How long the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes, possibly none.
    Length(u64),
    /// Chunked, or announced with an expectation: for the general server.
    Elsewhere,
}

/// Why a head is refused; the connection ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadProblem {
    /// Not HTTP/1.
    Malformed,
    /// More bytes or lines than any client of ours sends.
    TooLarge,
}

impl HeadProblem {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }
}

/// Whether `bytes` may hold a whole head, of which the first `seen` bytes did not. Spares parsing
/// what a slow client sends byte by byte again and again.
pub(crate) fn may_be_complete(bytes: &[u8], seen: usize) -> bool {
    let fresh = bytes.get(seen.saturating_sub(3)..).unwrap_or_default();
    let blank = |window: &[u8]| window.ends_with(b"\n\n") || window == b"\n\r\n";
    fresh.windows(3).any(blank) || fresh.starts_with(b"\n\n")
}

/// Reads a head and says how many bytes it took; none while it is incomplete.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, HeadProblem> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut lines);
    let taken = match request.parse(bytes) {
        Ok(httparse::Status::Complete(taken)) => taken,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(HeadProblem::TooLarge);
        }
        Err(_) => return Err(HeadProblem::Malformed),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(HeadProblem::Malformed);
    };
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    for line in request.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let value = HeaderValue::from_bytes(line.value);
        match (name, value) {
            (Ok(name), Ok(value)) => headers.append(name, value),
            (Ok(_) | Err(_), Ok(_) | Err(_)) => return Err(HeadProblem::Malformed),
        };
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| HeadProblem::Malformed)?;
    // A tunnel goes to an authority, never to a path (RFC 9112 section 3.2.3).
    if method == Method::CONNECT && path_of(target).is_some() {
        return Err(HeadProblem::Malformed);
    }
    let is_11 = minor == 1;
    let head = RequestHead {
        method,
        target: target.to_owned(),
        is_11,
        keep_alive: keep_alive(&headers, is_11),
        framing: framing(&headers)?,
        headers,
    };
    Ok(Some((head, taken)))
}

/// RFC 9112 section 6.3. Several lengths that differ are an attack, not a request.
fn framing(headers: &HeaderMap) -> Result<Framing, HeadProblem> {
    if headers.contains_key(TRANSFER_ENCODING) || headers.contains_key(EXPECT) {
        return Ok(Framing::Elsewhere);
    }
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let text = value.to_str().unwrap_or_default();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let found: u64 = match text.parse() {
            Ok(found) if digits => found,
            Ok(_) | Err(_) => return Err(HeadProblem::Malformed),
        };
        if length.is_some_and(|length| length != found) {
            return Err(HeadProblem::Malformed);
        }
        length = Some(found);
    }
    Ok(Framing::Length(length.unwrap_or(0)))
}

/// RFC 9112 section 9.3.
fn keep_alive(headers: &HeaderMap, is_11: bool) -> bool {
    let says = |word: &str| {
        headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case(word))
    };
    if headers.contains_key(UPGRADE) || says("close") {
        return false;
    }
    is_11 || says("keep-alive")
}

/// The path of a target in origin form or absolute form (RFC 9112 section 3.2), without its query.
/// The host of an absolute URL says nothing here.
pub(crate) fn path_of(target: &str) -> Option<&str> {
    let path = if target.starts_with('/') {
        target
    } else {
        let (scheme, rest) = target.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return None;
        }
        rest.find('/')
            .and_then(|start| rest.get(start..))
            .unwrap_or("/")
    };
    path.split(['?', '#']).next()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(text: &str) -> RequestHead {
        let (head, taken) = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(taken, text.len());
        head
    }

    #[test]
    fn what_grub_and_firmware_send_is_read() {
        let grub = head(
            "GET /grub/grub.cfg HTTP/1.1\r\nHost: 10.77.0.1\r\nUser-Agent: GRUB 2.06-13+deb12u2\r\n\r\n",
        );
        assert_eq!(grub.method, Method::GET);
        assert_eq!(grub.target, "/grub/grub.cfg");
        assert!(grub.keep_alive && grub.is_11);
        assert_eq!(grub.framing, Framing::Length(0));
        let uefi =
            head("HEAD http://10.77.0.1:8880/shimx64.efi HTTP/1.1\r\nHost: 10.77.0.1\r\n\r\n");
        assert_eq!(path_of(&uefi.target), Some("/shimx64.efi"));
    }

    #[test]
    fn a_connection_is_kept_as_the_rfc_says() {
        for (line, version, kept) in [
            ("", "1.1", true),
            ("", "1.0", false),
            ("Connection: close\r\n", "1.1", false),
            ("Connection: foo, Close\r\n", "1.1", false),
            ("Connection: Keep-Alive\r\n", "1.0", true),
            (
                "Connection: keep-alive\r\nConnection: close\r\n",
                "1.0",
                false,
            ),
            ("Connection: upgrade\r\nUpgrade: h2c\r\n", "1.1", false),
        ] {
            let text = format!("GET / HTTP/{version}\r\n{line}\r\n");
            assert_eq!(head(&text).keep_alive, kept, "{text}");
        }
    }

    #[test]
    fn the_length_of_a_body_is_never_guessed() {
        let of = |lines: &str| parse(format!("POST / HTTP/1.1\r\n{lines}\r\n").as_bytes());
        for (lines, framing) in [
            ("Content-Length: 12\r\n", Framing::Length(12)),
            (
                "Content-Length: 3\r\nContent-Length: 3\r\n",
                Framing::Length(3),
            ),
            ("Transfer-Encoding: chunked\r\n", Framing::Elsewhere),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
                Framing::Elsewhere,
            ),
            (
                "Expect: 100-continue\r\nContent-Length: 3\r\n",
                Framing::Elsewhere,
            ),
        ] {
            assert_eq!(of(lines).unwrap().unwrap().0.framing, framing, "{lines}");
        }
        for lines in [
            "Content-Length: 3\r\nContent-Length: 4\r\n",
            "Content-Length: +3\r\n",
            "Content-Length: 3, 3\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Content-Length : 3\r\n",
            " folded: 3\r\n",
        ] {
            assert_eq!(of(lines).unwrap_err(), HeadProblem::Malformed, "{lines}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused_and_what_is_short_is_waited_for() {
        assert!(parse(b"GET / HTTP/1.1\r\nHost: x").unwrap().is_none());
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(HEAD_BYTES));
        assert_eq!(parse(long.as_bytes()).unwrap_err(), HeadProblem::TooLarge);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65));
        assert_eq!(parse(many.as_bytes()).unwrap_err(), HeadProblem::TooLarge);
        assert_eq!(
            parse(b"\x16\x03\x01\x02\x00\x01").unwrap_err(),
            HeadProblem::Malformed
        );
        assert_eq!(
            parse(b"GET / HTTP/2.0\r\n\r\n").unwrap_err(),
            HeadProblem::Malformed
        );
    }

    #[test]
    fn a_tunnel_has_no_path() {
        for (target, fits) in [("10.77.0.1:80", true), ("/a", false), ("http://x/a", false)] {
            let text = format!("CONNECT {target} HTTP/1.1\r\n\r\n");
            assert_eq!(parse(text.as_bytes()).is_ok(), fits, "{target}");
        }
    }

    #[test]
    fn the_host_in_a_target_says_nothing() {
        for (target, path) in [
            ("/a/b?c=d", Some("/a/b")),
            ("//grubx64.efi", Some("//grubx64.efi")),
            ("http://node-2/a", Some("/a")),
            ("HTTP://10.77.0.12:1/a?x", Some("/a")),
            ("https://x", Some("/")),
            ("ftp://x/a", None),
            ("*", None),
            ("10.77.0.12:80", None),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            parse(&bytes).ok();
        }

        #[test]
        fn a_head_is_found_wherever_it_is_cut(cut in 0_usize..40, path in "/[a-z]{0,8}") {
            let text = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let (mut bytes, mut found) = (Vec::new(), false);
            for part in text.as_bytes().chunks(cut + 1) {
                let seen = bytes.len();
                bytes.extend_from_slice(part);
                if may_be_complete(&bytes, seen) {
                    found = parse(&bytes).unwrap().is_some();
                }
            }
            prop_assert!(found);
        }
    }
}
