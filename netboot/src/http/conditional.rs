//! Conditional requests (RFC 9110 section 13).
//!
//! Pure. Invariant: `If-None-Match` decides alone when present, and a range is only honoured under
//! `If-Range` when the validator matches strongly.

use http::header::{HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use super::range::{self, RangeRequest};

/// Validators of a representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Validators<'a> {
    /// Strong entity tag with its quotes.
    pub(crate) etag: &'a str,
    /// Whole seconds; none for rendered files.
    pub(crate) modified: Option<Timestamp>,
}

/// What to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 304.
    NotModified,
    /// 200, 206 or 416.
    Send(RangeRequest),
}

/// Evaluates the headers of a GET or HEAD request for a file of `length` bytes.
pub(crate) fn evaluate(headers: &HeaderMap, validators: &Validators<'_>, length: u64) -> Verdict {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(tags) = text(IF_NONE_MATCH) {
        if tags.trim() == "*" || any_tag_matches(tags, validators.etag) {
            return Verdict::NotModified;
        }
    } else if let (Some(since), Some(modified)) = (
        text(IF_MODIFIED_SINCE).and_then(parse_date),
        validators.modified,
    ) && modified <= since
    {
        return Verdict::NotModified;
    }
    let Some(range) = text(RANGE) else {
        return Verdict::Send(RangeRequest::Whole);
    };
    if let Some(condition) = text(IF_RANGE) {
        let condition = condition.trim();
        let matches = if condition.starts_with('"') {
            condition == validators.etag
        } else {
            // A date only counts when it is exactly the one we gave out.
            validators.modified.is_some() && parse_date(condition) == validators.modified
        };
        if !matches {
            return Verdict::Send(RangeRequest::Whole);
        }
    }
    Verdict::Send(range::parse(range, length))
}

/// Weak comparison (RFC 9110 section 8.8.3.2) with each tag of a list; our tags have no comma.
fn any_tag_matches(list: &str, etag: &str) -> bool {
    list.split(',').any(|tag| {
        let tag = tag.trim();
        tag.strip_prefix("W/").unwrap_or(tag) == etag
    })
}

/// An HTTP date in the one format that is still sent (RFC 9110 section 5.6.7).
fn parse_date(text: &str) -> Option<Timestamp> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    PARSER.parse_timestamp(text.trim()).ok()
}

/// Formats a time for `Last-Modified`.
pub(crate) fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(headers: &[(http::HeaderName, &str)]) -> Verdict {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        let validators = Validators {
            etag: "\"sha256:ab\"",
            modified: Some("2026-11-20T07:28:00Z".parse().unwrap()),
        };
        evaluate(&headers, &validators, 100)
    }

    const WHOLE: Verdict = Verdict::Send(RangeRequest::Whole);
    const PART: Verdict = Verdict::Send(RangeRequest::Part {
        first: 10,
        last: 19,
    });
    const DATE: &str = "Fri, 20 Nov 2026 07:28:00 GMT";
    const LATER: &str = "Fri, 20 Nov 2026 07:28:01 GMT";
    const EARLIER: &str = "Fri, 20 Nov 2026 07:27:59 GMT";

    #[test]
    fn dates_are_written_as_they_are_read() {
        let time: Timestamp = "2026-11-20T07:28:00Z".parse().unwrap();
        assert_eq!(http_date(time), DATE);
        assert_eq!(parse_date(DATE), Some(time));
    }

    #[test]
    fn none_match_decides_before_dates() {
        assert_eq!(
            verdict(&[(IF_NONE_MATCH, "\"sha256:ab\"")]),
            Verdict::NotModified
        );
        assert_eq!(
            verdict(&[(IF_NONE_MATCH, "\"x\", W/\"sha256:ab\"")]),
            Verdict::NotModified
        );
        assert_eq!(verdict(&[(IF_NONE_MATCH, "*")]), Verdict::NotModified);
        assert_eq!(
            verdict(&[(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, LATER)]),
            WHOLE
        );
    }

    #[test]
    fn modified_since_compares_whole_seconds() {
        assert_eq!(verdict(&[(IF_MODIFIED_SINCE, DATE)]), Verdict::NotModified);
        assert_eq!(verdict(&[(IF_MODIFIED_SINCE, LATER)]), Verdict::NotModified);
        assert_eq!(verdict(&[(IF_MODIFIED_SINCE, EARLIER)]), WHOLE);
        assert_eq!(verdict(&[(IF_MODIFIED_SINCE, "yesterday")]), WHOLE);
    }

    #[test]
    fn a_resumed_download_needs_the_same_file() {
        let range = (RANGE, "bytes=10-19");
        assert_eq!(verdict(std::slice::from_ref(&range)), PART);
        assert_eq!(verdict(&[range.clone(), (IF_RANGE, "\"sha256:ab\"")]), PART);
        assert_eq!(verdict(&[range.clone(), (IF_RANGE, DATE)]), PART);
        for other in ["\"sha256:cd\"", "W/\"sha256:ab\"", LATER, EARLIER, "junk"] {
            assert_eq!(
                verdict(&[range.clone(), (IF_RANGE, other)]),
                WHOLE,
                "{other}"
            );
        }
    }
}
