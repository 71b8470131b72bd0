//! `Range` headers (RFC 9110 section 14).
//!
//! Pure. One range is answered; several are answered with the whole file, which the RFC allows.
//! Invariant: a returned range is not empty and lies within the file.

/// What a `Range` header asks of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeRequest {
    /// Everything: no header, or one that is to be ignored.
    Whole,
    /// Bytes from `first` to `last`, both included.
    Part {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
    /// Nothing of it lies within the file: 416.
    Unsatisfiable,
}

/// Reads the header's value for a file of `length` bytes. Syntax errors mean [`RangeRequest::Whole`]
/// (RFC 9110 section 14.2: an invalid field is ignored).
pub(crate) fn parse(header: &str, length: u64) -> RangeRequest {
    let Some((unit, set)) = header.split_once('=') else {
        return RangeRequest::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return RangeRequest::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else {
        return RangeRequest::Whole;
    };
    match (number(first), number(last)) {
        (Field::Empty, Field::Number(0)) => RangeRequest::Unsatisfiable,
        (Field::Empty, Field::Number(_)) if length == 0 => RangeRequest::Unsatisfiable,
        (Field::Empty, Field::Number(suffix)) => RangeRequest::Part {
            first: length.saturating_sub(suffix),
            last: length - 1,
        },
        (Field::Number(first), Field::Number(last)) if last < first => RangeRequest::Whole,
        (Field::Number(first), Field::Number(_) | Field::Empty) if first >= length => {
            RangeRequest::Unsatisfiable
        }
        (Field::Number(first), Field::Number(last)) => RangeRequest::Part {
            first,
            last: last.min(length - 1),
        },
        (Field::Number(first), Field::Empty) => RangeRequest::Part {
            first,
            last: length - 1,
        },
        (Field::Empty, Field::Empty) | (Field::Invalid, _) | (_, Field::Invalid) => {
            RangeRequest::Whole
        }
    }
}

#[derive(Clone, Copy)]
enum Field {
    Empty,
    Number(u64),
    Invalid,
}

/// Digits only; a number too large for us lies beyond every file.
fn number(text: &str) -> Field {
    if text.is_empty() {
        Field::Empty
    } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
        Field::Number(text.parse().unwrap_or(u64::MAX))
    } else {
        Field::Invalid
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_of_rfc_9110_holds() {
        use RangeRequest::{Part, Unsatisfiable, Whole};
        for (header, length, expected) in [
            (
                "bytes=0-499",
                10_000,
                Part {
                    first: 0,
                    last: 499,
                },
            ),
            (
                "bytes=500-999",
                10_000,
                Part {
                    first: 500,
                    last: 999,
                },
            ),
            (
                "bytes=-500",
                10_000,
                Part {
                    first: 9_500,
                    last: 9_999,
                },
            ),
            (
                "bytes=9500-",
                10_000,
                Part {
                    first: 9_500,
                    last: 9_999,
                },
            ),
            ("bytes=0-0", 10_000, Part { first: 0, last: 0 }),
            ("Bytes = 1-2", 10, Part { first: 1, last: 2 }),
            ("bytes=0-99999", 10, Part { first: 0, last: 9 }),
            ("bytes=-99", 10, Part { first: 0, last: 9 }),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-20", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-5", 0, Unsatisfiable),
            ("bytes=99999999999999999999-", 10, Unsatisfiable),
            (
                "bytes=0-99999999999999999999",
                10,
                Part { first: 0, last: 9 },
            ),
            ("bytes=5-4", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=0-1,3-4", 10, Whole),
            ("lines=0-1", 10, Whole),
            ("bytes", 10, Whole),
            ("", 10, Whole),
        ] {
            assert_eq!(parse(header, length), expected, "{header} of {length}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_or_outside(header in "bytes ?= ?[0-9]{0,22}-[0-9]{0,22}", length: u64) {
            if let RangeRequest::Part { first, last } = parse(&header, length) {
                prop_assert!(first <= last && last < length);
            }
        }

        #[test]
        fn any_text_is_survived(header in any::<String>(), length: u64) {
            if let RangeRequest::Part { first, last } = parse(&header, length) {
                prop_assert!(first <= last && last < length);
            }
        }
    }
}
