//! The site view: what this process knows about machines, operations and nodes, in memory.
//!
//! Filled by the watches (or, before their first answer, from the store), read by everybody.
//! Invariant: it is a projection that can be rebuilt; nothing is decided here.

mod boot;
mod boot_files;
mod boot_record;
mod changes;
mod current;
mod loaders;
mod machines;
mod read;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use metalman_api::{machine::Machine, operation::MachineOperation};
use netboot::directory::Snapshot;
use tokio::sync::watch;

pub(crate) use boot::architecture;
pub use boot::{BootCache, BootView, SiteDirectory, template_reference};
pub use boot_files::BootFileChecks;
use boot_files::Verdicts;
pub use boot_record::BootRecord;
use changes::{Change, Readers};
pub use changes::{Changed, Changes, Shown};
pub use loaders::{LoaderVerdict, LoadersSeen};
pub use machines::{KeptMachine, NetbootWish};
pub use read::{BmcReading, MachineMemory};

use crate::{
    bmc::Vitals,
    domain::{facts::NodeSeen, waits::Wait},
    packed::Packer,
};

/// The site view.
#[derive(Debug)]
pub struct Site {
    name: String,
    view: RwLock<View>,
    packer: Packer,
    boot: ArcSwap<Snapshot>,
    boot_files: Verdicts,
    changes: watch::Sender<u64>,
    readers: Readers,
    loaders: LoadersSeen,
}

#[derive(Debug, Default)]
struct View {
    machines: BTreeMap<Box<str>, Arc<KeptMachine>>,
    operations: BTreeMap<String, Arc<MachineOperation>>,
    nodes: BTreeMap<String, SiteNode>,
    memory: HashMap<String, MachineMemory>,
    /// Versions of Machines that were read beside their watch, which has not come so far.
    newest: HashMap<Box<str>, u64>,
    /// By uid of the operation.
    waits: HashMap<String, Wait>,
    synced: bool,
}

/// A Node as far as the site cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteNode {
    /// Value of the machine label, if any.
    pub machine: Option<String>,
    /// What counts as evidence.
    pub seen: NodeSeen,
}

impl Site {
    /// An empty view of the site with this label value.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            view: RwLock::default(),
            packer: Packer::default(),
            boot: ArcSwap::from_pointee(Snapshot::default()),
            boot_files: Verdicts::default(),
            changes: watch::Sender::new(0),
            readers: Readers::default(),
            loaders: LoadersSeen::default(),
        }
    }

    /// Value of the site label; empty for machines without one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What boot loaders of netboot images say of themselves.
    pub fn loaders(&self) -> &LoadersSeen {
        &self.loaders
    }

    /// Counts up at every change; for whoever wants to look again.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// An inbox of what changes; it begins with "everything".
    pub fn subscribe(&self) -> Changes {
        self.readers.subscribe()
    }

    /// Says that something outside the view changed that may concern any machine.
    pub fn poke(&self) {
        self.tell(Change::All);
    }

    /// Says that something outside the view changed about one machine (evidence, a token, an image).
    pub fn poke_machine(&self, name: &str) {
        self.tell(Change::Machine(name));
    }

    /// Says that something outside the view changed about one operation.
    pub fn poke_operation(&self, name: &str) {
        self.tell(Change::Operation(name));
    }

    /// Says that an operation has come further in the journal.
    pub fn tell_progress(&self, operation: &str) {
        self.tell(Change::Progress(operation));
    }

    fn tell(&self, change: Change<'_>) {
        self.readers.tell(&change);
        self.changes.send_modify(|count| *count += 1);
    }

    fn write<T>(&self, change: Change<'_>, write: impl FnOnce(&mut View) -> T) -> T {
        let result = write(&mut self.view.write().unwrap_or_else(PoisonError::into_inner));
        self.tell(change);
        result
    }

    fn read<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a complete list from the API server (or the store) has been taken in.
    pub fn is_synced(&self) -> bool {
        self.read(|view| view.synced)
    }

    /// Says that a complete list has been taken in.
    pub fn set_synced(&self) {
        self.write(Change::All, |view| view.synced = true);
    }

    /// Takes in a Machine.
    pub fn apply_machine(&self, machine: &Machine) {
        if let Some(kept) = self.pack(machine) {
            self.apply_kept(Arc::new(kept));
        }
    }

    /// A Machine as the site keeps it; `None` when it has no name.
    pub fn pack(&self, machine: &Machine) -> Option<KeptMachine> {
        KeptMachine::new(&self.packer, &self.name, machine)
    }

    /// Takes in a Machine that was packed here.
    pub fn apply_kept(&self, machine: Arc<KeptMachine>) {
        let name = machine.name.clone();
        let old = self.kept(&name);
        let change = match old {
            Some(old) if old.is_but_for_status(&machine) => Change::MachineStatus(&name),
            Some(_) | None => Change::Machine(&name),
        };
        self.write_if(change, |view| view.take(machine));
    }

    /// Forgets a Machine, and what was read of its BMC.
    pub fn remove_machine(&self, name: &str) {
        self.write(Change::Machine(name), |view| view.forget_machine(name));
    }

    /// Takes in an operation.
    pub fn apply_operation(&self, operation: MachineOperation) {
        if let Some(name) = operation.metadata.name.clone() {
            let old = self.operation(&name);
            let change = match old {
                Some(old) if is_but_for_status(&old, &operation) => Change::Progress(&name),
                Some(_) | None => Change::Operation(&name),
            };
            self.write(change, |view| {
                view.operations.insert(name.clone(), Arc::new(operation))
            });
        }
    }

    /// Forgets an operation.
    pub fn remove_operation(&self, name: &str) {
        self.write(Change::Operation(name), |view| {
            let gone = view.operations.remove(name);
            let uid = gone.as_ref().and_then(|gone| gone.metadata.uid.as_ref());
            uid.and_then(|uid| view.waits.remove(uid))
        });
    }

    /// Takes in a Node. Most of its updates say nothing that matters here, and are not told.
    pub fn apply_node(&self, name: String, node: SiteNode) {
        if self.read(|view| view.nodes.get(&name) == Some(&node)) {
            return;
        }
        // Whose Node it is may be said by a Machine of another name.
        self.write(Change::All, |view| view.nodes.insert(name, node));
    }

    /// Forgets a Node.
    pub fn remove_node(&self, name: &str) {
        self.write(Change::All, |view| view.nodes.remove(name));
    }

    /// Takes in the vitals of a machine's BMC.
    pub fn remember_vitals(&self, machine: &str, vitals: Vitals, at: Timestamp) {
        self.write(Change::Reading(machine), |view| {
            let memory = view.memory.entry(machine.to_owned()).or_default();
            memory.take_vitals(vitals, at);
        });
    }

    /// Takes in a reading of a machine's BMC. One that brings nothing new is not told: whoever
    /// waits for a younger one asks for it.
    pub fn remember(&self, machine: &str, reading: BmcReading, at: Timestamp) {
        let is_news = {
            let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
            let memory = view.memory.entry(machine.to_owned()).or_default();
            memory.take(reading, at)
        };
        if is_news {
            self.tell(Change::Reading(machine));
        }
    }
}

/// Whether nothing differs of which a target's steps depend; the generation counts changes of the
/// spec.
fn is_but_for_status(old: &MachineOperation, new: &MachineOperation) -> bool {
    let (old, new) = (&old.metadata, &new.metadata);
    new.generation.is_some()
        && (&old.uid, old.generation, &old.deletion_timestamp)
            == (&new.uid, new.generation, &new.deletion_timestamp)
}

#[cfg(test)]
mod tests;
