//! Numbers and foreign text as people read them.

/// Bytes in decimal units, two to three significant figures: `1.0 MB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    for (size, unit) in UNITS {
        if count >= size {
            // Tenths of the unit, rounded; u128 since ten times a u64 may not fit.
            let tenths = (u128::from(count) * 10 + u128::from(size) / 2) / u128::from(size);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{count} B")
}

/// Milliseconds as `0.2 s`; short ones as they are.
pub(super) fn duration(milliseconds: u64) -> String {
    if milliseconds < 100 {
        return format!("{milliseconds} ms");
    }
    let tenths = milliseconds / 100 + u64::from(milliseconds % 100 >= 50);
    format!("{}.{} s", tenths / 10, tenths % 10)
}

/// `1.0 MB in 0.2 s, 5.0 MB/s`. The rate is left out when the time is too short to mean one.
pub(super) fn transfer(count: u64, milliseconds: u64) -> String {
    let plain = format!("{} in {}", bytes(count), duration(milliseconds));
    if milliseconds < 10 || count < 100_000 {
        return plain;
    }
    let rate = u128::from(count) * 1000 / u128::from(milliseconds);
    format!(
        "{plain}, {}/s",
        bytes(u64::try_from(rate).unwrap_or(u64::MAX))
    )
}

/// Foreign text made harmless for terminals and short: no control characters, 200 characters.
pub(super) fn clean(text: &str) -> String {
    let mut clean: String = text
        .chars()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .take(200)
        .collect();
    if text.chars().nth(200).is_some() {
        clean.push('…');
    }
    clean
}

/// A requested path as shown: without leading slashes, and without the token of an install URL.
pub(super) fn file(path: &str) -> String {
    let path = path.trim_start_matches('/');
    if path.starts_with("install/") {
        "machine image".to_owned()
    } else {
        clean(path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_048_504), "1.0 MB");
        assert_eq!(bytes(14_186_432), "14.2 MB");
        assert_eq!(bytes(u64::MAX), "18446744073.7 GB");
        assert_eq!(duration(7), "7 ms");
        assert_eq!(duration(249), "0.2 s");
        assert_eq!(duration(3_700), "3.7 s");
        assert_eq!(transfer(1_048_504, 200), "1.0 MB in 0.2 s, 5.2 MB/s");
        assert_eq!(transfer(512, 3), "512 B in 3 ms");
    }

    #[test]
    fn a_token_in_a_path_is_not_shown() {
        assert_eq!(file("/install/s3cret/disk"), "machine image");
        assert_eq!(file("//install/s3cret/disk"), "machine image");
        assert_eq!(file("//grubx64.efi"), "grubx64.efi");
    }

    proptest! {
        #[test]
        fn cleaned_text_has_no_control_characters(text in ".*") {
            let clean = clean(&text);
            prop_assert!(!clean.chars().any(char::is_control));
            prop_assert!(clean.chars().count() <= 201);
        }

        #[test]
        fn any_number_has_words(count: u64, milliseconds: u64) {
            prop_assert!(transfer(count, milliseconds).contains(" in "));
        }
    }
}
