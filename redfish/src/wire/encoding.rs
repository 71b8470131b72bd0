//! Bodies that come compressed although nobody asked for it.
//!
//! iLO answers some resources with gzip whatever `Accept-Encoding` says, which its vendor's own
//! client library undoes as well (HewlettPackard/python-ilorest-library, rest/connections.py).

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

/// The plain body, or `None` when it is longer than `limit`.
pub(super) fn decoded(
    encoding: Option<&str>,
    body: Vec<u8>,
    limit: usize,
) -> io::Result<Option<Vec<u8>>> {
    if !encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case("gzip")) {
        return Ok(Some(body));
    }
    let beyond = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut plain = Vec::new();
    MultiGzDecoder::new(body.as_slice())
        .take(beyond)
        .read_to_end(&mut plain)?;
    Ok((plain.len() <= limit).then_some(plain))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_undone_and_bounded() {
        assert_eq!(decoded(None, b"{}".to_vec(), 10).unwrap().unwrap(), b"{}");
        assert_eq!(
            decoded(Some("GZIP"), gzip(b"{}"), 10).unwrap().unwrap(),
            b"{}"
        );
        let bomb = gzip(&vec![0; 1_000_000]);
        assert_eq!(decoded(Some("gzip"), bomb, 1000).unwrap(), None);
        assert!(decoded(Some("gzip"), b"not gzip".to_vec(), 10).is_err());
    }
}
