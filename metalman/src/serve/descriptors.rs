//! How many files and connections the process may have open.
//!
//! The usual soft limit of 1024 is for programs that use `select`; we do not. Invariant: a limit is
//! only ever raised, and never above the hard one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Enough for every connection that is admitted, with its file.
const WANTED: u64 = 1 << 16;

/// Raises the soft limit and returns what it is now.
pub(super) fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let now = limit.current.unwrap_or(WANTED);
    let wanted = WANTED.min(limit.maximum.unwrap_or(WANTED));
    if now >= wanted {
        return now;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(error) => {
            warn!(error = %error, "cannot raise the limit of open files from {now} to {wanted}");
            now
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_once_and_stays() {
        let first = raise();
        assert!(first >= 256, "{first}");
        assert_eq!(raise(), first);
    }
}
