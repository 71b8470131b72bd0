//! The one place that reads the clock.

use jiff::Timestamp;

/// The time, for log entries only.
pub(crate) fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the clock of this program")]
    Timestamp::now()
}
