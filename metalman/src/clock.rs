//! The one place that reads the clock. Everything that decides takes `now` as a value; only edges
//! (sockets, timers, the start-up code) call [`now`] and pass the result on.

use jiff::Timestamp;

/// The current time, UTC.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place the lint points everybody to"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}
