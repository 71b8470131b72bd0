//! Connections kept open between calls: few, and used only while they are surely good.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;

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
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// An idle connection that is good for a write or a read.
    pub(super) async fn take(&self, is_write: bool) -> Option<Connection> {
        let age = if is_write { WRITE_AGE } else { READ_AGE };
        loop {
            let mut connection = self.lock().pop()?;
            if connection.used + age > Instant::now() && connection.is_alive().await {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose exchange ended cleanly.
    pub(super) fn keep(&self, connection: Connection) {
        let mut idle = self.lock();
        if idle.len() < KEPT {
            idle.push(connection);
        }
    }

    /// Closes all idle connections.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
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
