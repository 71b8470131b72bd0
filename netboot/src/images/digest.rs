//! SHA-256 digests in OCI spelling (`sha256:` and 64 lower-case hexadecimal digits).
//!
//! Not a general digest type: other algorithms are refused. Invariant: what [`is_digest`] accepts
//! is safe as part of a file name.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Lower-case hexadecimal of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            write!(text, "{byte:02x}").ok();
            text
        })
}

/// Digest of `bytes`.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(bytes))
}

/// Bare hexadecimal SHA-256 of `bytes`.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// True for `sha256:` followed by 64 lower-case hexadecimal digits.
pub(crate) fn is_digest(text: &str) -> bool {
    hex_part(text).is_some()
}

/// The hexadecimal part of a valid digest.
pub(crate) fn hex_part(text: &str) -> Option<&str> {
    let hex = text.strip_prefix("sha256:")?;
    let fits = hex.len() == 64
        && hex
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    fits.then_some(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_lower_case_sha256_is_a_digest() {
        let good = digest_of(b"");
        assert_eq!(
            good,
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert!(is_digest(&good));
        assert!(!is_digest(&good.to_uppercase()));
        assert!(!is_digest(&good[..70]));
        assert!(!is_digest("sha512:00"));
        assert!(!is_digest("sha256:../../../../etc/passwd"));
    }
}
