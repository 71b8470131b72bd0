//! Questions to the site view, and what is remembered about each BMC.

use std::sync::Arc;

use jiff::Timestamp;
use metalman_api::{machine::Machine, operation::MachineOperation};

use super::{KeptMachine, Site, SiteNode};
use crate::{
    bmc::{Seen, Vitals},
    domain::{
        facts::{BootOverride, NodeSeen, Power, Reading, Trouble},
        health::{BmcFacts, SteadyHealth},
    },
};

/// What a BMC call brought.
#[derive(Debug, Clone)]
pub enum BmcReading {
    /// The system was read.
    Seen(Seen),
    /// The call failed.
    Trouble(Trouble),
}

/// What this process remembers about one machine's BMC.
#[derive(Debug, Clone, Default)]
pub struct MachineMemory {
    /// Last power state.
    pub power: Option<Reading<Power>>,
    /// Last boot override.
    pub boot_override: Option<Reading<BootOverride>>,
    /// Last failure, unless a later call succeeded.
    pub trouble: Option<Trouble>,
    /// Leaf certificate of the BMC.
    pub fingerprint: Option<String>,
    /// Last vitals of the BMC.
    pub vitals: Option<Reading<Arc<Vitals>>>,
    /// Their health, steadied.
    health: SteadyHealth,
}

impl MachineMemory {
    /// What a status shows of the BMC.
    pub fn bmc_facts(&self) -> BmcFacts {
        let vitals = self.vitals.as_ref().map(|read| &read.value);
        BmcFacts {
            health: self.health.shown(),
            bios_version: vitals.and_then(|vitals| vitals.bios_version.clone()),
            firmware_version: vitals.and_then(|vitals| vitals.firmware_version.clone()),
            certificate_ends: vitals.and_then(|vitals| vitals.certificate.as_ref()?.not_after),
        }
    }

    pub(super) fn take_vitals(&mut self, vitals: Vitals, at: Timestamp) {
        self.health.take(vitals.health());
        let value = Arc::new(vitals);
        self.vitals = Some(Reading { value, at });
    }

    /// Whether anything but the time of the reading is new.
    pub(super) fn take(&mut self, reading: BmcReading, at: Timestamp) -> bool {
        match reading {
            BmcReading::Seen(seen) => {
                let is_news = self.trouble.is_some()
                    || self.power.as_ref().map(|r| r.value) != Some(seen.power)
                    || self.boot_override.as_ref().map(|r| r.value) != Some(seen.boot_override)
                    || (seen.fingerprint.is_some() && self.fingerprint != seen.fingerprint);
                self.power = Some(Reading {
                    value: seen.power,
                    at,
                });
                self.boot_override = Some(Reading {
                    value: seen.boot_override,
                    at,
                });
                self.fingerprint = seen.fingerprint.or(self.fingerprint.take());
                self.trouble = None;
                is_news
            }
            BmcReading::Trouble(trouble) => {
                self.trouble = Some(trouble);
                true
            }
        }
    }

    /// When the BMC was last asked, with or without success.
    pub fn last_asked(&self) -> Option<Timestamp> {
        self.power
            .as_ref()
            .map(|r| r.at)
            .max(self.trouble.as_ref().map(|t| t.at))
    }
}

impl Site {
    /// Machines this appliance owns, by name.
    pub fn owned_machines(&self) -> Vec<Arc<KeptMachine>> {
        self.read(|view| {
            let machines = view.machines.values();
            machines.filter(|m| m.is_owned).cloned().collect()
        })
    }

    /// One machine, if this appliance owns it.
    pub fn owned_machine(&self, name: &str) -> Option<Arc<Machine>> {
        self.kept(name).filter(|kept| kept.is_owned)?.machine()
    }

    /// All machines that were seen, by name.
    pub fn machines(&self) -> Vec<Arc<KeptMachine>> {
        self.read(|view| view.machines.values().cloned().collect())
    }

    /// One machine.
    pub fn machine(&self, name: &str) -> Option<Arc<Machine>> {
        self.kept(name)?.machine()
    }

    /// One machine as it is kept.
    pub fn kept(&self, name: &str) -> Option<Arc<KeptMachine>> {
        self.read(|view| view.machines.get(name).cloned())
    }

    /// All operations, by name.
    pub fn operations(&self) -> Vec<Arc<MachineOperation>> {
        self.read(|view| view.operations.values().cloned().collect())
    }

    /// One operation.
    pub fn operation(&self, name: &str) -> Option<Arc<MachineOperation>> {
        self.read(|view| view.operations.get(name).cloned())
    }

    /// What is remembered about a machine's BMC.
    pub fn memory(&self, machine: &str) -> MachineMemory {
        self.read(|view| view.memory.get(machine).cloned().unwrap_or_default())
    }

    /// The Node of a machine: by its machine label, or by name.
    pub fn node_of(&self, machine: &Machine) -> Option<NodeSeen> {
        let name = machine.metadata.name.as_deref()?;
        let by_ref = machine
            .spec
            .kubernetes
            .as_ref()
            .and_then(|k| k.node_ref.as_ref())
            .map_or(name, |node| node.name.as_str());
        self.read(|view| {
            let by_label = |node: &&SiteNode| node.machine.as_deref() == Some(name);
            view.nodes
                .values()
                .find(by_label)
                .or_else(|| view.nodes.get(by_ref))
                .map(|node| node.seen.clone())
        })
    }

    /// Name of the unfinished operation on a machine that started first, for the timeline.
    pub fn running_operation(&self, machine: &str) -> Option<String> {
        self.read(|view| {
            view.operations
                .values()
                .filter(|operation| {
                    operation.status.as_ref().is_some_and(|status| {
                        status
                            .targets
                            .iter()
                            .any(|t| t.machine_ref == machine && !t.phase.is_terminal())
                    })
                })
                .min_by_key(|operation| {
                    operation
                        .metadata
                        .creation_timestamp
                        .as_ref()
                        .map(|time| time.0)
                })
                .and_then(|operation| operation.metadata.name.clone())
        })
    }
}
