//! How slow a client may be while it has something to take.
//!
//! Invariant: a client that takes less than the agreed bytes in a window, while we wait for it, is
//! given up; one that keeps up costs no timer.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// The account of one answer.
#[derive(Debug)]
pub(crate) struct Pace {
    window: Duration,
    min_window_bytes: u64,
    /// End of the window that began when the client first did not take what we had.
    ends: Option<Instant>,
    taken: u64,
}

impl Pace {
    pub(crate) fn new(window: Duration, min_window_bytes: u64) -> Self {
        Self {
            window,
            min_window_bytes,
            ends: None,
            taken: 0,
        }
    }

    /// The network took bytes.
    pub(crate) fn took(&mut self, bytes: usize) {
        self.taken += bytes as u64;
    }

    /// Waits for the client, as long as it is fast enough.
    pub(crate) async fn wait(
        &mut self,
        writable: impl Future<Output = io::Result<()>>,
    ) -> io::Result<()> {
        tokio::pin!(writable);
        loop {
            let ends = match self.ends {
                Some(ends) => ends,
                None => {
                    self.taken = 0;
                    *self.ends.insert(Instant::now() + self.window)
                }
            };
            if let Ok(ready) = timeout_at(ends, writable.as_mut()).await {
                return ready;
            }
            if self.taken < self.min_window_bytes {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client takes data too slowly",
                ));
            }
            self.ends = None;
        }
    }
}
