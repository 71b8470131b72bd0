//! `Retry-After`: how long a BMC wants to be left alone.

use std::time::Duration;

/// Longest pause that is believed.
pub(super) const RETRY_AFTER_LIMIT: Duration = Duration::from_hours(1);

/// Reads seconds, or a date measured against the answer's own `Date`: a BMC's clock is not ours.
pub(super) fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let pause = if let Ok(seconds) = value.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        let now = jiff::fmt::rfc2822::parse(date?).ok()?.timestamp();
        Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(pause.min(RETRY_AFTER_LIMIT))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_against_the_answers_own_clock() {
        assert_eq!(retry_after("7", None), Some(Duration::from_secs(7)));
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:50:07 GMT", date),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:00:00 GMT", date),
            Some(Duration::ZERO)
        );
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", None), None);
        assert_eq!(retry_after("soon", None), None);
        assert_eq!(
            retry_after("18446744073709551615", None),
            Some(RETRY_AFTER_LIMIT)
        );
    }

    proptest! {
        #[test]
        fn any_retry_after_is_bounded(value in "\\PC{0,40}", date in proptest::option::of("\\PC{0,40}")) {
            let pause = retry_after(&value, date.as_deref());
            prop_assert!(pause.is_none_or(|pause| pause <= RETRY_AFTER_LIMIT));
        }
    }
}
