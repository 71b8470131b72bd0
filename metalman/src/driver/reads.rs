//! The Machines of an operation, read as they are now before it is worked on.
//!
//! One request for each operation in the life of a process. Invariant: no target that has not begun is
//! in the journal before this has succeeded, so none works with a Machine older than its operation.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use metalman_api::{
    operation::{MachineOperation, MachineOperationSpec},
    scope::{self, SelectorScope},
};
use tokio::sync::Semaphore;
use tracing::warn;

use super::Driver;
use crate::{
    clock,
    domain::{facts::Trouble, waits::Wait},
};

/// Requests under way at one time.
const AT_ONCE: usize = 16;

/// How far the reading of each operation is, by its uid.
#[derive(Debug, Clone)]
pub(super) struct Reads {
    state: Arc<Mutex<HashMap<String, Read>>>,
    places: Arc<Semaphore>,
}

#[derive(Debug, Clone)]
enum Read {
    Asked,
    /// Names of the Machines it means, as far as they exist.
    Found(Arc<[String]>),
    Failed(Timestamp),
}

impl Default for Reads {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Reads {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Read>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an answer is on its way.
    pub(super) fn is_asked(&self, uid: &str) -> bool {
        matches!(self.lock().get(uid), Some(Read::Asked))
    }

    /// Whether the Machines of an operation are not known yet.
    fn is_unread(&self, uid: &str) -> bool {
        matches!(self.lock().get(uid), Some(Read::Asked | Read::Failed(_)))
    }

    /// Forgets an operation that is in the journal now.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Forgets all: no operation is without its targets.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }
}

impl Driver {
    /// Operations whose Machines are not known yet.
    pub(super) fn unread(&self) -> Vec<Arc<MachineOperation>> {
        let unrecorded = self.memory.unrecorded.lock();
        let unrecorded = unrecorded.unwrap_or_else(PoisonError::into_inner);
        let operations = unrecorded
            .iter()
            .filter_map(|name| self.site.operation(name));
        let is_unread = |operation: &Arc<MachineOperation>| {
            let uid = operation.metadata.uid.as_deref();
            uid.is_some_and(|uid| self.memory.reads.is_unread(uid))
        };
        operations.filter(is_unread).collect()
    }

    /// Whether an operation is another appliance's business, as far as is known.
    pub(super) fn is_foreign(&self, spec: &MachineOperationSpec) -> bool {
        match (&spec.machine_ref, &spec.machine_selector) {
            (Some(name), None) => self.site.kept(name).is_some_and(|kept| !kept.is_owned),
            (None, Some(selector)) => match scope::selector_scope(selector) {
                SelectorScope::Site(pinned) => pinned.is_empty() || pinned != self.site.name(),
                SelectorScope::Unpinned => false,
            },
            (Some(_), Some(_)) | (None, None) => false,
        }
    }

    /// Names of the Machines that an operation means, once they have been read; until then the
    /// reading is begun, and begun again when it failed.
    pub(super) fn machines_now(
        &self,
        operation: &Arc<MachineOperation>,
        (name, uid): (&str, &str),
        now: Timestamp,
    ) -> Option<Arc<[String]>> {
        let reads = &self.memory.reads;
        let mut state = reads.lock();
        match state.get(uid) {
            Some(Read::Asked) => return None,
            Some(Read::Failed(at)) if now.duration_since(*at) < self.limits.poll => return None,
            Some(Read::Found(names)) if !self.has_come(&operation.spec, names) => {
                return Some(Arc::clone(names));
            }
            Some(Read::Failed(_) | Read::Found(_)) | None => {}
        }
        state.insert(uid.to_owned(), Read::Asked);
        drop(state);
        let (driver, operation) = (self.clone(), Arc::clone(operation));
        let (name, uid) = (name.to_owned(), uid.to_owned());
        self.tasks.spawn(async move {
            let read = match driver.read_machines(&operation.spec).await {
                Ok(names) => Read::Found(names.into()),
                Err(trouble) => {
                    warn!(operation = name, error = %trouble.message, "Machines cannot be read, the operation waits");
                    let wait = Wait::api_server(&operation.spec, &trouble.message, trouble.at);
                    driver.site.set_wait(&name, &uid, Some(wait));
                    Read::Failed(clock::now())
                }
            };
            driver.memory.reads.lock().insert(uid, read);
            driver.site.poke_operation(&name);
        });
        None
    }

    /// Whether a Machine that was not there has been seen since.
    fn has_come(&self, spec: &MachineOperationSpec, names: &[String]) -> bool {
        let machine = spec.machine_ref.as_deref();
        names.is_empty() && machine.is_some_and(|name| self.site.kept(name).is_some())
    }

    async fn read_machines(&self, spec: &MachineOperationSpec) -> Result<Vec<String>, Trouble> {
        // It is never closed.
        let _place = self.memory.reads.places.acquire().await.ok();
        match (&spec.machine_ref, &spec.machine_selector) {
            (Some(name), None) => {
                let found = self.current.read(name).await?;
                Ok(found.map(|_| name.clone()).into_iter().collect())
            }
            (None, Some(selector)) => match scope::selector_scope(selector) {
                SelectorScope::Site(_) => self.current.select(selector).await,
                SelectorScope::Unpinned => Ok(Vec::new()),
            },
            (Some(_), Some(_)) | (None, None) => Ok(Vec::new()),
        }
    }
}
