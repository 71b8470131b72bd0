//! The unfinished targets in memory. The driver is their only writer, so this is what the store
//! holds; an entry whose commit failed is dropped here and read afresh.
//!
//! A look at what is due costs what is due and what changed, not what there is.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

use crate::{domain::conflicts::Turn, site::Changed, store::Target};

/// Operation uid and machine.
pub(super) type Key = (String, String);

/// See the module. Invariant: a target that no task works on is in `by_due`, with its `due`.
#[derive(Debug, Default)]
pub(super) struct Journal {
    open: HashMap<Key, Open>,
    by_machine: HashMap<String, HashSet<Key>>,
    by_due: BTreeSet<(Timestamp, Key)>,
    /// Operations whose targets are all here or finished.
    known: HashSet<String>,
    /// Tasks at work.
    running: usize,
}

/// A target that is not finished.
#[derive(Debug, Clone)]
struct Open {
    row: Target,
    /// When it wants to be looked at even if nothing changes.
    due: Timestamp,
    /// It has not begun, so any other operation may be what it waits for.
    waits: bool,
    task: Task,
}

/// Whether a task works on a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    None,
    Running,
    /// Something changed while it ran, at this time: what it knows may be old.
    Again(Timestamp),
}

impl Journal {
    /// Whether the targets of an operation are recorded.
    pub(super) fn knows(&self, uid: &str) -> bool {
        self.known.contains(uid)
    }

    /// Takes in the targets of an operation; finished ones are only known. One that a task works on
    /// keeps its task.
    pub(super) fn record(&mut self, uid: &str, rows: impl IntoIterator<Item = Target>) {
        self.known.insert(uid.to_owned());
        self.adopt(rows);
    }

    /// Takes in targets as they are in the store, where they are not here yet.
    pub(super) fn adopt(&mut self, rows: impl IntoIterator<Item = Target>) {
        for row in rows.into_iter().filter(|row| !row.finished) {
            let key = (row.operation_uid.clone(), row.machine.clone());
            if self.open.contains_key(&key) {
                continue;
            }
            let of_machine = self.by_machine.entry(row.machine.clone()).or_default();
            of_machine.insert(key.clone());
            self.by_due.insert((Timestamp::MIN, key.clone()));
            let open = Open {
                row,
                due: Timestamp::MIN,
                waits: true,
                task: Task::None,
            };
            self.open.insert(key, open);
        }
    }

    /// Forgets operations whose objects are gone and that have no unfinished target.
    pub(super) fn forget_unless(&mut self, is_there: impl Fn(&str) -> bool) {
        let busy: HashSet<&str> = self.open.keys().map(|(uid, _)| uid.as_str()).collect();
        self.known
            .retain(|uid| is_there(uid) || busy.contains(uid.as_str()));
    }

    /// Takes in what a task has committed.
    pub(super) fn put(&mut self, key: &Key, row: Target) {
        if let Some(open) = self.open.get_mut(key) {
            open.row = row;
        }
    }

    /// Whether a target has not begun.
    pub(super) fn waits(&self, key: &Key) -> bool {
        self.open.get(key).is_some_and(|open| open.waits)
    }

    /// Targets to look at now, those first that are due longest, and no more than there are free
    /// places among `most`.
    pub(super) fn due(&mut self, now: Timestamp, changed: &Changed, most: usize) -> Vec<Key> {
        for key in self.concerned(changed) {
            self.wake(&key, now);
        }
        let due = self.by_due.iter().take_while(|(due, _)| *due <= now);
        let free = most.saturating_sub(self.running);
        due.take(free).map(|(_, key)| key.clone()).collect()
    }

    fn concerned(&self, changed: &Changed) -> Vec<Key> {
        if changed.all {
            return self.open.keys().cloned().collect();
        }
        let machines = changed.machines.iter();
        let of_machines = machines.filter_map(|machine| self.by_machine.get(machine));
        let mut concerned: Vec<Key> = of_machines.flatten().cloned().collect();
        if !changed.operations.is_empty() {
            let of_operations = self.open.iter().filter(|(_, open)| {
                open.waits || changed.operations.contains(&open.row.operation_name)
            });
            concerned.extend(of_operations.map(|(key, _)| key.clone()));
        }
        concerned
    }

    /// Has a target looked at `now`, or once more after the look that is under way.
    fn wake(&mut self, key: &Key, now: Timestamp) {
        let Some(open) = self.open.get_mut(key) else {
            return;
        };
        match open.task {
            Task::None if open.due > now => {
                self.by_due.remove(&(open.due, key.clone()));
                self.by_due.insert((now, key.clone()));
                open.due = now;
            }
            Task::Running => open.task = Task::Again(now),
            Task::None | Task::Again(_) => {}
        }
    }

    /// Begins a task on a target, unless one works on it already or `most` are at work.
    pub(super) fn begin(&mut self, key: &Key, most: usize) -> Option<Target> {
        let open = self.open.get_mut(key)?;
        if open.task != Task::None || self.running >= most {
            return None;
        }
        self.by_due.remove(&(open.due, key.clone()));
        open.task = Task::Running;
        self.running += 1;
        Some(open.row.clone())
    }

    /// Ends the task on a target; it is looked at again at `due`, or at once if something changed
    /// meanwhile. A finished one leaves, and those that wait on its machine are looked at. `true`
    /// when it was the last one of its operation.
    pub(super) fn end(&mut self, key: &Key, due: Timestamp, waits: bool) -> bool {
        self.running = self.running.saturating_sub(1);
        let Some(open) = self.open.get_mut(key) else {
            return false;
        };
        if open.row.finished {
            self.remove(key);
            let others = self.by_machine.get(&key.1).into_iter().flatten();
            let waiting: Vec<Key> = others.filter(|other| self.waits(other)).cloned().collect();
            for key in waiting {
                self.wake(&key, Timestamp::MIN);
            }
            return !self.open.keys().any(|(uid, _)| *uid == key.0);
        }
        open.due = match open.task {
            Task::Again(since) => since.min(due),
            Task::None | Task::Running => due,
        };
        open.waits = waits;
        open.task = Task::None;
        self.by_due.insert((open.due, key.clone()));
        false
    }

    /// Ends the task on a target whose row is not what the store holds.
    pub(super) fn drop_row(&mut self, key: &Key) {
        self.running = self.running.saturating_sub(1);
        self.remove(key);
        self.known.remove(&key.0);
    }

    fn remove(&mut self, key: &Key) {
        let Some(open) = self.open.remove(key) else {
            return;
        };
        self.by_due.remove(&(open.due, key.clone()));
        if let Some(of_machine) = self.by_machine.get_mut(&key.1) {
            of_machine.remove(key);
            if of_machine.is_empty() {
                self.by_machine.remove(&key.1);
            }
        }
    }

    /// All unfinished targets.
    pub(super) fn open(&self) -> impl Iterator<Item = &Target> {
        self.open.values().map(|open| &open.row)
    }

    /// All unfinished targets, with whether a step of one was taken or may be taken right now.
    pub(super) fn turns(&self) -> impl Iterator<Item = (&Target, Turn)> {
        self.open.values().map(|open| {
            let started = open.row.state.get("startedAt");
            let has_begun = started.is_some_and(|at| !at.is_null()) || open.task != Task::None;
            let turn = if has_begun { Turn::Begun } else { Turn::Waits };
            (&open.row, turn)
        })
    }

    /// When the next target wants to be looked at; while `most` tasks are at work, the end of one
    /// comes first.
    pub(super) fn next_due(&self, most: usize) -> Option<Timestamp> {
        let (due, _) = self.by_due.first()?;
        (self.running < most).then_some(*due)
    }
}

#[cfg(test)]
mod tests {
    use metalman_api::operation::OperationKind;
    use serde_json::json;

    use super::*;
    use crate::domain::TargetState;

    fn row(uid: &str, machine: &str, finished: bool) -> Target {
        Target {
            operation_uid: uid.into(),
            operation_name: format!("op-{uid}"),
            machine: machine.into(),
            kind: "HostReboot".into(),
            version: 1,
            state: json!({}),
            finished,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn key(uid: &str, machine: &str) -> Key {
        (uid.into(), machine.into())
    }

    fn machine(name: &str) -> Changed {
        Changed {
            machines: [name.to_owned()].into(),
            ..Changed::default()
        }
    }

    fn operation(name: &str) -> Changed {
        Changed {
            operations: [name.to_owned()].into(),
            ..Changed::default()
        }
    }

    /// A journal with one target that was looked at and wants to rest until second 10.
    fn resting(waits: bool) -> Journal {
        let mut journal = Journal::default();
        journal.record("u", [row("u", "n1", false), row("u", "n2", true)]);
        assert_eq!(journal.due(at(0), &Changed::default(), 1), [key("u", "n1")]);
        assert!(journal.begin(&key("u", "n1"), 1).is_some());
        journal.end(&key("u", "n1"), at(10), waits);
        journal
    }

    #[test]
    fn a_target_is_due_by_time_by_its_machine_by_its_operation_and_while_it_waits() {
        for (waits, now, changed, due) in [
            (false, 5, Changed::default(), false),
            (false, 10, Changed::default(), true),
            (false, 5, machine("n1"), true),
            (false, 5, machine("n2"), false),
            (false, 5, operation("op-u"), true),
            (false, 5, operation("other"), false),
            (true, 5, operation("other"), true),
            (false, 5, Changed::everything(), true),
        ] {
            let mut journal = resting(waits);
            assert_eq!(journal.next_due(1), Some(at(10)));
            assert_eq!(
                !journal.due(at(now), &changed, 1).is_empty(),
                due,
                "{changed:?}"
            );
        }
    }

    #[test]
    fn a_target_has_begun_when_a_task_works_on_it_or_its_state_says_so() {
        let turn = |journal: &Journal| journal.turns().map(|(_, turn)| turn).next().unwrap();
        let mut journal = resting(true);
        assert_eq!(turn(&journal), Turn::Waits);
        let n1 = key("u", "n1");
        journal.begin(&n1, 1).unwrap();
        assert_eq!(turn(&journal), Turn::Begun);
        journal.end(&n1, at(10), true);
        assert_eq!(turn(&journal), Turn::Waits);
        let mut state = TargetState::new(OperationKind::HostReboot, at(0));
        let mut put = |state: &TargetState| {
            let state = serde_json::to_value(state).unwrap();
            journal.put(
                &n1,
                Target {
                    state,
                    ..row("u", "n1", false)
                },
            );
            turn(&journal)
        };
        assert_eq!(put(&state), Turn::Waits);
        state.started_at = Some(at(1));
        assert_eq!(put(&state), Turn::Begun);
    }

    #[test]
    fn what_changes_during_a_task_is_looked_at_after_it() {
        let mut journal = resting(false);
        let n1 = key("u", "n1");
        assert!(journal.begin(&n1, 1).is_some());
        assert!(journal.begin(&n1, 9).is_none(), "one task a target");
        assert!(journal.due(at(20), &machine("n1"), 9).is_empty());
        journal.end(&n1, at(99), false);
        assert_eq!(journal.due(at(20), &Changed::default(), 9), [n1]);
    }

    #[test]
    fn a_target_without_a_free_place_stays_due() {
        let mut journal = Journal::default();
        journal.record("u", [row("u", "n1", false), row("u", "n2", false)]);
        assert!(journal.begin(&key("u", "n1"), 1).is_some());
        assert!(journal.begin(&key("u", "n2"), 1).is_none());
        assert!(journal.due(at(0), &Changed::everything(), 1).is_empty());
        assert_eq!(journal.next_due(1), None);
        journal.end(&key("u", "n1"), at(50), false);
        assert_eq!(journal.due(at(0), &Changed::default(), 1), [key("u", "n2")]);
        assert!(journal.begin(&key("u", "n2"), 1).is_some());
    }

    #[test]
    fn places_go_to_those_that_are_due_longest() {
        let mut journal = Journal::default();
        let names = ["a", "b", "c"];
        journal.record("u", names.map(|name| row("u", name, false)));
        for (name, due) in names.into_iter().zip([30, 10, 20]) {
            assert!(journal.begin(&key("u", name), 1).is_some());
            journal.end(&key("u", name), at(due), false);
        }
        // One that changes all the time comes after those that were due before.
        let due = journal.due(at(25), &machine("a"), 2);
        assert_eq!(due, [key("u", "b"), key("u", "c")]);
        for key in &due {
            assert!(journal.begin(key, 9).is_some());
            journal.end(key, at(40), false);
        }
        assert_eq!(
            journal.due(at(26), &machine("b"), 9),
            [key("u", "a"), key("u", "b")]
        );
    }

    #[test]
    fn the_end_of_a_target_wakes_those_that_wait_on_its_machine() {
        let mut journal = Journal::default();
        for (uid, machine) in [("u", "n1"), ("v", "n1"), ("v", "n2")] {
            journal.record(uid, [row(uid, machine, false)]);
            assert!(journal.begin(&key(uid, machine), 1).is_some());
            journal.end(&key(uid, machine), at(50), uid == "v");
        }
        assert!(journal.due(at(1), &Changed::default(), 9).is_empty());
        assert!(journal.begin(&key("u", "n1"), 1).is_some());
        journal.put(&key("u", "n1"), row("u", "n1", true));
        journal.end(&key("u", "n1"), at(50), false);
        assert_eq!(journal.due(at(1), &Changed::default(), 9), [key("v", "n1")]);
    }

    #[test]
    fn a_finished_row_leaves_and_a_stale_one_is_read_afresh() {
        let mut journal = resting(false);
        let n1 = key("u", "n1");
        journal.begin(&n1, 1);
        journal.put(&n1, row("u", "n1", true));
        assert!(journal.end(&n1, at(0), false), "the last of its operation");
        assert_eq!(journal.open().count(), 0);
        assert!(journal.knows("u"));
        journal.record("v", [row("v", "n1", false)]);
        assert!(journal.begin(&key("v", "n1"), 1).is_some());
        journal.drop_row(&key("v", "n1"));
        assert!(!journal.knows("v"));
        journal.forget_unless(|_| false);
        assert!(!journal.knows("u"));
    }
}
