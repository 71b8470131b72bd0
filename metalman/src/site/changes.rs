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
}

/// A reader's inbox; what changes meanwhile waits in it.
#[derive(Debug)]
pub struct Changes(Arc<Inbox>);

#[derive(Debug, Default)]
struct Inbox {
    pending: Mutex<Changed>,
    news: Notify,
}

impl Changes {
    /// Waits until something has changed. Cancelling it loses nothing.
    pub async fn changed(&self) {
        self.0.news.notified().await;
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
