//! Tasks: an accepted write that says so a few polls later.
//!
//! Pure. The write itself is done when the task is made; a task only delays the news.

use std::collections::BTreeMap;

/// Running and finished tasks by id.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    left: BTreeMap<u64, u32>,
    last: u64,
}

impl Tasks {
    /// A task that ends after this many polls.
    pub(crate) fn begin(&mut self, polls: u32) -> u64 {
        self.last += 1;
        self.left.insert(self.last, polls);
        self.last
    }

    /// Whether the task has ended, counting this as one poll. `None`: no such task.
    pub(crate) fn poll(&mut self, id: u64) -> Option<bool> {
        let left = self.left.get_mut(&id)?;
        let ended = *left == 0;
        *left = left.saturating_sub(1);
        Some(ended)
    }
}
