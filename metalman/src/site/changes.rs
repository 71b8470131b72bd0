//! What has changed since somebody last looked, so that a look costs what has changed and not what
//! there is.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::Notify;

/// A set of changes. Names may be of objects that are gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Everything may have changed.
    pub all: bool,
    /// A Machine object, or something about one besides the readings of its BMC.
    pub objects: bool,
    /// Names of Machines.
    pub machines: HashSet<String>,
    /// Names of MachineOperations.
    pub operations: HashSet<String>,
    /// What changed besides: no target takes another step because of it.
    pub shown: Shown,
}

/// What only those look at who show how things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Names of Machines whose status was written.
    pub machines: HashSet<String>,
    /// Names of MachineOperations that have come further, or whose status was written.
    pub operations: HashSet<String>,
}

impl Changed {
    /// Everything.
    pub fn everything() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    /// Whether this Machine is among them.
    pub fn has_machine(&self, name: &str) -> bool {
        self.all || self.machines.contains(name)
    }

    /// Whether this operation is among them.
    pub fn has_operation(&self, name: &str) -> bool {
        self.all || self.operations.contains(name)
    }

    /// Takes in what another set has.
    pub fn add(&mut self, other: Self) {
        self.all |= other.all;
        self.objects |= other.objects;
        self.machines.extend(other.machines);
        self.operations.extend(other.operations);
        self.shown.machines.extend(other.shown.machines);
        self.shown.operations.extend(other.shown.operations);
    }

    fn add_one(&mut self, change: &Change<'_>) {
        match change {
            // Names beside "everything" would only grow.
            _ if self.all => {}
            Change::All => *self = Self::everything(),
            Change::Machine(name) => {
                self.objects = true;
                self.machines.insert((*name).to_owned());
            }
            Change::Reading(name) => {
                self.machines.insert((*name).to_owned());
            }
            Change::Operation(name) => {
                self.operations.insert((*name).to_owned());
            }
            Change::MachineStatus(name) => {
                self.shown.machines.insert((*name).to_owned());
            }
            Change::Progress(name) => {
                self.shown.operations.insert((*name).to_owned());
            }
        }
    }
}

/// One change.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'a> {
    All,
    Machine(&'a str),
    /// Of a machine's BMC.
    Reading(&'a str),
    Operation(&'a str),
    /// Nothing but the status of its object.
    MachineStatus(&'a str),
    /// Of an operation in the journal, or in the status of its object.
    Progress(&'a str),
}

/// A reader's inbox; what changes meanwhile waits in it.
#[derive(Debug)]
pub struct Changes(Arc<Inbox>);

#[derive(Debug, Default)]
struct Inbox {
    pending: Mutex<Changed>,
    news: Notify,
    /// Told of operations and of everything.
    urgent: Notify,
}

impl Changes {
    /// Waits until something has changed. Cancelling it loses nothing.
    pub async fn changed(&self) {
        self.0.news.notified().await;
    }

    /// Waits until an operation, or everything, has changed. Cancelling it loses nothing.
    pub async fn operation_changed(&self) {
        self.0.urgent.notified().await;
    }

    /// Empties the inbox.
    pub fn take(&self) -> Changed {
        mem::take(
            &mut *self
                .0
                .pending
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

/// All inboxes; those whose reader is gone are forgotten.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<Vec<Weak<Inbox>>>);

impl Readers {
    /// A new inbox, which begins with "everything".
    pub(super) fn subscribe(&self) -> Changes {
        let inbox = Arc::new(Inbox {
            pending: Mutex::new(Changed::everything()),
            news: Notify::new(),
            urgent: Notify::new(),
        });
        inbox.news.notify_one();
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.push(Arc::downgrade(&inbox));
        Changes(inbox)
    }

    pub(super) fn tell(&self, change: &Change<'_>) {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| {
            let Some(inbox) = reader.upgrade() else {
                return false;
            };
            let mut pending = inbox.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.add_one(change);
            inbox.news.notify_one();
            if matches!(change, Change::All | Change::Operation(_)) {
                inbox.urgent.notify_one();
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn changes_wait_until_they_are_taken() {
        let readers = Readers::default();
        let inbox = readers.subscribe();
        assert!(inbox.changed().now_or_never().is_some());
        assert_eq!(inbox.take(), Changed::everything());
        assert!(inbox.changed().now_or_never().is_none());
        readers.tell(&Change::Machine("n1"));
        readers.tell(&Change::Machine("n1"));
        readers.tell(&Change::Operation("o1"));
        assert!(inbox.changed().now_or_never().is_some());
        let changed = inbox.take();
        assert!(changed.has_machine("n1") && !changed.has_machine("n2"));
        assert!(changed.has_operation("o1") && !changed.all);
        assert_eq!(inbox.take(), Changed::default());
    }

    #[test]
    fn what_is_only_shown_is_told_apart() {
        let readers = Readers::default();
        let inbox = readers.subscribe();
        inbox.take();
        readers.tell(&Change::MachineStatus("n1"));
        readers.tell(&Change::Progress("o1"));
        let mut changed = inbox.take();
        assert!(!changed.has_machine("n1") && !changed.has_operation("o1"));
        assert!(!changed.objects);
        assert!(inbox.operation_changed().now_or_never().is_none());
        readers.tell(&Change::Operation("o2"));
        assert!(inbox.operation_changed().now_or_never().is_some());
        changed.add(changed.clone());
        assert_eq!(changed.shown.machines, ["n1".to_owned()].into());
        assert_eq!(changed.shown.operations, ["o1".to_owned()].into());
    }

    #[test]
    fn everything_swallows_names_and_a_lost_reader_is_forgotten() {
        let readers = Readers::default();
        let inbox = readers.subscribe();
        drop(readers.subscribe());
        inbox.take();
        readers.tell(&Change::All);
        readers.tell(&Change::Machine("n1"));
        assert_eq!(inbox.take(), Changed::everything());
        assert_eq!(readers.0.lock().unwrap().len(), 1);
    }
}
