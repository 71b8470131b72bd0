//! The sessions of one BMC.
//!
//! Pure but for random tokens, which are passed in, as is the time.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Open sessions by id.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: BTreeMap<u64, Session>,
    last: u64,
}

#[derive(Debug)]
struct Session {
    token: String,
    account: u64,
    used: Instant,
}

impl Sessions {
    /// Opens a session; `None` when all are taken.
    pub(crate) fn open(
        &mut self,
        token: String,
        account: u64,
        limit: usize,
        now: Instant,
    ) -> Option<u64> {
        if self.open.len() >= limit {
            return None;
        }
        self.last += 1;
        self.open.insert(
            self.last,
            Session {
                token,
                account,
                used: now,
            },
        );
        Some(self.last)
    }

    pub(crate) fn close(&mut self, id: u64) -> bool {
        self.open.remove(&id).is_some()
    }

    /// Ends the sessions of an account that is no more.
    pub(crate) fn close_all_of(&mut self, account: u64) {
        self.open.retain(|_, session| session.account != account);
    }

    /// Forgets every session, as a BMC does when it restarts.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
    }

    /// Drops what was idle for too long; tells how many.
    pub(crate) fn expire(&mut self, idle: Duration, now: Instant) -> usize {
        let before = self.open.len();
        self.open
            .retain(|_, session| now.saturating_duration_since(session.used) < idle);
        before - self.open.len()
    }

    /// The account of a token, whose session is in use now.
    pub(crate) fn account(&mut self, token: &str, now: Instant) -> Option<u64> {
        let session = self
            .open
            .values_mut()
            .find(|session| session.token == token)?;
        session.used = now;
        Some(session.account)
    }

    /// The account a session belongs to.
    pub(crate) fn owner(&self, id: u64) -> Option<u64> {
        self.open.get(&id).map(|session| session.account)
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.open.keys().copied().collect()
    }
}
