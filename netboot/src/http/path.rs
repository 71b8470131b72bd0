//! Paths as boot firmware writes them.
//!
//! Pure. Invariant: a clean path is relative, has plain names only, and is the same for every
//! spelling of one file.

/// Why a path is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathProblem {
    /// It names nothing.
    Empty,
    /// It tries to leave the image or has bytes that no file name has.
    Refused,
}

const MAX_PATH_BYTES: usize = 1024;

/// Removes leading, doubled and closing slashes and single dots; refuses `..`, control characters
/// and backslashes. UEFI asks for `//grubx64.efi`, GRUB for `/grub/grub.cfg`, shim for `grubx64.efi`.
pub(crate) fn clean(path: &str) -> Result<String, PathProblem> {
    if path.len() > MAX_PATH_BYTES || path.chars().any(|c| c.is_control() || c == '\\') {
        return Err(PathProblem::Refused);
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(PathProblem::Refused),
            name => parts.push(name),
        }
    }
    if parts.is_empty() {
        Err(PathProblem::Empty)
    } else {
        Ok(parts.join("/"))
    }
}

/// Undoes percent encoding (RFC 3986 section 2.1); none when the result is not UTF-8. A stray `%`
/// stands for itself, because firmware sends names as they are.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let decoded = match (first, after) {
            (b'%', [high, low, ..]) => hex_value(*high).zip(hex_value(*low)),
            _ => None,
        };
        match decoded {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_firmware_uses_is_one_path() {
        for spelling in [
            "grub/grub.cfg",
            "/grub/grub.cfg",
            "//grub//grub.cfg",
            "./grub/./grub.cfg/",
        ] {
            assert_eq!(
                clean(spelling),
                Ok("grub/grub.cfg".to_owned()),
                "{spelling}"
            );
        }
    }

    #[test]
    fn ways_out_are_refused() {
        for path in [
            "..",
            "/../etc/passwd",
            "a/../../b",
            "a\\..\\b",
            "a\0b",
            "a\nb",
        ] {
            assert_eq!(clean(path), Err(PathProblem::Refused), "{path:?}");
        }
        for path in ["", "/", "//", "/./"] {
            assert_eq!(clean(path), Err(PathProblem::Empty), "{path:?}");
        }
        assert_eq!(percent_decode("%2e%2E/x").as_deref(), Some("../x"));
        assert_eq!(percent_decode("50%").as_deref(), Some("50%"));
        assert_eq!(percent_decode("%zz%4").as_deref(), Some("%zz%4"));
        assert_eq!(percent_decode("%ff"), None);
    }

    proptest! {
        #[test]
        fn clean_paths_are_stable_and_stay_inside(path in any::<String>()) {
            if let Ok(cleaned) = clean(&path) {
                prop_assert_eq!(clean(&cleaned), Ok(cleaned.clone()));
                let relative = std::path::Path::new(&cleaned);
                let plain = relative.components().all(|c| matches!(c, std::path::Component::Normal(_)));
                prop_assert!(plain);
            }
        }

        #[test]
        fn decoding_undoes_encoding(text in any::<String>()) {
            let encoded: Vec<String> = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(percent_decode(&encoded.concat()), Some(text));
        }
    }
}
