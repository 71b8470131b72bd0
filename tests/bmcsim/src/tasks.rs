//! Tasks: an accepted write that says so a few polls later.
//!
//! Pure. The write itself is done when the task is made; a task only delays the news, or tells bad ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a task goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskPlan {
    /// Polls until it ends.
    pub polls: u32,
    /// Ends as `Exception`; what was asked for is not done.
    pub fails: bool,
    /// Never ends.
    pub never_ends: bool,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Running,
    Completed,
    Failed,
}

/// Running and finished tasks by id.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    tasks: BTreeMap<u64, TaskPlan>,
    last: u64,
}

/// Tasks that are remembered.
const LIMIT: usize = 64;

impl Tasks {
    pub(crate) fn begin(&mut self, plan: TaskPlan) -> u64 {
        self.last += 1;
        self.tasks.insert(self.last, plan);
        while self.tasks.len() > LIMIT {
            self.tasks.pop_first();
        }
        self.last
    }

    /// How a task stands, counting this as one poll. `None`: no such task.
    pub(crate) fn poll(&mut self, id: u64) -> Option<Progress> {
        let task = self.tasks.get_mut(&id)?;
        let progress = progress(*task);
        task.polls = task.polls.saturating_sub(1);
        Some(progress)
    }

    pub(crate) fn peek(&self, id: u64) -> Option<Progress> {
        self.tasks.get(&id).copied().map(progress)
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.tasks.keys().copied().collect()
    }
}

fn progress(task: TaskPlan) -> Progress {
    match task {
        TaskPlan {
            never_ends: true, ..
        } => Progress::Running,
        TaskPlan { polls: 1.., .. } => Progress::Running,
        TaskPlan { fails: true, .. } => Progress::Failed,
        TaskPlan { .. } => Progress::Completed,
    }
}
