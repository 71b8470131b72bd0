//! What the status writer has yet to look at, and how fast it may.
//!
//! Pure. A thousand machines that are driven at once change their statuses several times a second.
//! What has gathered is written once, in the order in which it first changed; the status of an
//! operation comes before those of its machines.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::site::Changed;

/// Changes within this time are written together.
pub(super) const SETTLE: Duration = Duration::from_millis(200);
/// Longest pause between two looks when a look takes long.
const LONGEST_SETTLE: Duration = Duration::from_secs(1);
/// While an operation of many machines is under way, a look is followed by a pause of so many times
/// its length: the steps of the machines come first.
const BUSY_PAUSE: u32 = 4;
/// Pause between two statuses of an operation of many machines, unless it has ended.
const LARGE_EVERY: Duration = Duration::from_secs(2);

/// Things in the order in which they came, each once.
#[derive(Debug, Default)]
struct Line {
    order: VecDeque<String>,
    names: HashSet<String>,
}

impl Line {
    fn add(&mut self, name: String) {
        if self.names.insert(name.clone()) {
            self.order.push_back(name);
        }
    }

    fn next(&mut self) -> Option<String> {
        let name = self.order.pop_front()?;
        self.names.remove(&name);
        Some(name)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    operations: HashSet<String>,
    /// Of many machines; not to be looked at before.
    large: HashMap<String, Instant>,
    /// Large ones that have changed since.
    later: HashSet<String>,
    machines: Line,
}

impl Backlog {
    /// Takes in names of what has changed. "Everything" is for the caller to spell out.
    pub(super) fn add(&mut self, changed: Changed) {
        self.operations.extend(changed.operations);
        self.later.extend(changed.shown.operations);
        for name in changed.machines.into_iter().chain(changed.shown.machines) {
            self.machines.add(name);
        }
    }

    /// Adds one Machine.
    pub(super) fn add_machine(&mut self, name: String) {
        self.machines.add(name);
    }

    /// The operations to look at now.
    pub(super) fn take_operations(&mut self, now: Instant) -> HashSet<String> {
        self.large.retain(|_, until| *until > now);
        let mut taken = std::mem::take(&mut self.operations);
        let large = &self.large;
        self.later.retain(|name| !taken.contains(name));
        let due = self.later.extract_if(|name| !large.contains_key(name));
        taken.extend(due);
        taken
    }

    /// The next Machines to look at, at most so many.
    pub(super) fn next_machines(&mut self, most: usize) -> Vec<String> {
        std::iter::from_fn(|| self.machines.next())
            .take(most)
            .collect()
    }

    /// Whether there are Machines to look at.
    pub(super) fn has_machines(&self) -> bool {
        !self.machines.order.is_empty()
    }

    /// Nothing is put off any more.
    pub(super) fn hurry(&mut self) {
        self.large.clear();
    }

    /// Notes that an operation of many machines, which goes on, has been looked at.
    pub(super) fn is_large(&mut self, name: &str, now: Instant) {
        self.large.insert(name.to_owned(), now + LARGE_EVERY);
    }

    /// When there is something to look at even if nothing changes; a look that ended now has taken
    /// `took`. `None` when all has been looked at.
    pub(super) fn next_look(&self, now: Instant, took: Duration) -> Option<Instant> {
        let soonest = now + self.pause(took);
        if !self.operations.is_empty() || self.has_machines() {
            return Some(soonest);
        }
        let due = self.later.iter();
        let due = due.map(|name| self.large.get(name).copied().unwrap_or(soonest));
        due.min().map(|due| due.max(soonest))
    }

    /// How long to wait after a look that has taken `took`.
    pub(super) fn pause(&self, took: Duration) -> Duration {
        let factor = if self.large.is_empty() { 1 } else { BUSY_PAUSE };
        (took * factor).clamp(SETTLE, LONGEST_SETTLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Shown;

    fn names(names: &[&str]) -> HashSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn shown(operations: &[&str], machines: &[&str]) -> Changed {
        let shown = Shown {
            machines: names(machines),
            operations: names(operations),
        };
        Changed {
            shown,
            ..Changed::default()
        }
    }

    #[test]
    fn machines_come_once_and_in_the_order_of_their_first_change() {
        let mut backlog = Backlog::default();
        for name in ["n2", "n1", "n2", "n3"] {
            backlog.add(shown(&[], &[name]));
        }
        assert_eq!(backlog.next_machines(2), ["n2", "n1"]);
        assert!(backlog.has_machines());
        assert_eq!(backlog.next_machines(2), ["n3"]);
        assert_eq!(backlog.next_look(Instant::now(), SETTLE), None);
        backlog.add(shown(&[], &["n2"]));
        assert_eq!(backlog.next_machines(2), ["n2"]);
    }

    #[test]
    fn a_large_operation_is_looked_at_now_and_then_and_at_once_when_told() {
        let mut backlog = Backlog::default();
        let now = Instant::now();
        backlog.add(shown(&["large", "small"], &[]));
        assert_eq!(backlog.take_operations(now), names(&["large", "small"]));
        backlog.is_large("large", now);

        backlog.add(shown(&["large", "small"], &[]));
        assert_eq!(backlog.take_operations(now), names(&["small"]));
        let due = backlog.next_look(now, Duration::ZERO).unwrap();
        assert_eq!(due, now + LARGE_EVERY);
        let ended = Changed {
            operations: names(&["large"]),
            ..Changed::default()
        };
        backlog.add(ended);
        // What else had changed of it has been looked at, too.
        assert_eq!(backlog.take_operations(now), names(&["large"]));
        backlog.is_large("large", now);
        backlog.add(shown(&["large"], &[]));
        assert_eq!(backlog.take_operations(now), names(&[]));
        assert_eq!(backlog.take_operations(due), names(&["large"]));
        backlog.is_large("large", due);
        backlog.add(shown(&["large"], &[]));
        backlog.hurry();
        assert_eq!(backlog.take_operations(due), names(&["large"]));
    }

    #[test]
    fn looks_leave_time_for_others() {
        let mut backlog = Backlog::default();
        let (now, took) = (Instant::now(), Duration::from_millis(150));
        assert_eq!(backlog.pause(took), SETTLE);
        backlog.is_large("large", now);
        assert_eq!(backlog.pause(took), took * BUSY_PAUSE);
        assert_eq!(backlog.pause(took * 10), LONGEST_SETTLE);
    }
}
