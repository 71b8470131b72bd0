//! Connections kept open between calls: few, and used only while they are surely good.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::{Connection, Resting};

/// Connections kept per BMC.
const KEPT: usize = 2;
/// How long an idle connection is worth a look.
const READ_AGE: Duration = Duration::from_mins(5);
/// A write goes out only on a connection that was just used, or on a new one: when a stale
/// connection swallows it, nobody knows whether it happened.
const WRITE_AGE: Duration = Duration::from_secs(5);

/// The idle connections of one BMC.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Resting>>,
}

impl Pool {
    /// An idle connection that is good for a write or a read.
    pub(super) async fn take(&self, is_write: bool) -> Option<Connection> {
        let age = if is_write { WRITE_AGE } else { READ_AGE };
        loop {
            let mut resting = self.lock().pop()?;
            if resting.used + age > Instant::now() && resting.is_alive() {
                // A connection that cannot be taken up again is as good as none.
                return resting.wake().await.ok();
            }
        }
    }

    /// Keeps a connection whose exchange ended cleanly.
    pub(super) fn keep(&self, connection: Connection) {
        let mut idle = self.lock();
        if idle.len() < KEPT {
            idle.extend(connection.rest());
        }
    }

    /// Closes all idle connections.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Resting>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("idle", &self.lock().len())
            .finish()
    }
}
