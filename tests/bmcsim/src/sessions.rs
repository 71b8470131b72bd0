//! The sessions of one BMC.
//!
//! Pure but for random tokens, which are passed in.

use std::collections::BTreeMap;

/// Open sessions by id.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: BTreeMap<u64, String>,
    last: u64,
}

impl Sessions {
    /// Opens a session; `None` when all are taken.
    pub(crate) fn open(&mut self, token: String, limit: usize) -> Option<u64> {
        if self.open.len() >= limit {
            return None;
        }
        self.last += 1;
        self.open.insert(self.last, token);
        Some(self.last)
    }

    pub(crate) fn close(&mut self, id: u64) -> bool {
        self.open.remove(&id).is_some()
    }

    /// Forgets every session, as a BMC does when it restarts.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
    }

    pub(crate) fn accepts(&self, token: &str) -> bool {
        self.open.values().any(|open| open == token)
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.open.keys().copied().collect()
    }

    pub(crate) fn exists(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }
}
