//! Since when a connection waits for its client to ask something.
//!
//! Written by the connection, read by the accept loop when it has no place left.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// Shared between a connection and the accept loop.
#[derive(Debug)]
pub(crate) struct Waiting {
    epoch: Instant,
    /// Milliseconds from the epoch, plus one; zero while it does not wait.
    since: AtomicU64,
}

impl Waiting {
    /// Not waiting yet. All connections of a server share the `epoch`.
    pub(crate) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            since: AtomicU64::new(0),
        }
    }

    pub(crate) fn begin(&self) {
        let since = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.since.store(since + 1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    /// When it began, in no unit of interest; none while it does not wait.
    pub(crate) fn since(&self) -> Option<u64> {
        match self.since.load(Ordering::Relaxed) {
            0 => None,
            since => Some(since),
        }
    }
}
