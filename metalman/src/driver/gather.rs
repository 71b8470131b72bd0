//! Gathers the facts for a step from the site view, the store and the image jobs.

use std::collections::BTreeSet;

use jiff::Timestamp;
use metalman_api::{
    machine::Machine,
    operation::{MachineOperation, OperationKind},
    scope,
};

use super::{Driver, sightings};
use crate::{
    domain::{
        Facts, TargetState,
        conflicts::{self, Contender},
        facts::{BootSeen, MachineFacts},
        targets::{self, Targets},
    },
    store::StoreError,
};

impl Driver {
    pub(super) async fn gather(
        &self,
        operation: &MachineOperation,
        state: &TargetState,
        name: &str,
    ) -> Result<Facts, StoreError> {
        // The object may have changed since the pass began (suspend).
        let current = operation
            .metadata
            .name
            .as_deref()
            .and_then(|name| self.site.operation(name))
            .filter(|found| found.metadata.uid == operation.metadata.uid);
        let suspended = current
            .as_deref()
            .unwrap_or(operation)
            .spec
            .suspend
            .unwrap_or(false);
        let machine = self.site.machine(name);
        let memory = self.site.memory(name);
        let uid = operation.metadata.uid.as_deref().unwrap_or_default();
        let evidence = match (state.kind, state.started_at) {
            (OperationKind::HostReplace, Some(since)) => {
                self.store.evidence().since(name, since).await?
            }
            _ => Vec::new(),
        };
        let boot = self.store.boots().latest(name).await?;
        Ok(Facts {
            suspended,
            waiting_for: if state.started_at.is_none() {
                self.older(operation)
            } else {
                None
            },
            power: memory.power,
            boot_override: memory.boot_override,
            trouble: memory.trouble,
            images: self.images.fact(uid, name),
            sightings: evidence.iter().filter_map(sightings::sighting).collect(),
            boot: boot.map(|boot| BootSeen {
                boot_id: boot.boot_id,
                first_seen: boot.first_seen,
            }),
            node: machine
                .as_deref()
                .and_then(|machine| self.site.node_of(machine)),
            machine: machine
                .as_deref()
                .map(|machine| self.machine_facts(machine)),
        })
    }

    fn machine_facts(&self, machine: &Machine) -> MachineFacts {
        let name = machine.metadata.name.clone().unwrap_or_default();
        let pxe = machine.spec.pxe.as_ref();
        MachineFacts {
            generation: machine.metadata.generation,
            owned: scope::owns(self.site.name(), machine),
            has_redfish: pxe.is_some_and(|pxe| pxe.redfish.is_some()),
            leases: pxe.map_or(0, |pxe| pxe.dhcp_leases.len()),
            image: pxe.and_then(|pxe| pxe.image.clone()),
            netboot_image: pxe
                .and_then(|pxe| pxe.netboot_image.clone())
                .or_else(|| self.boot.default_netboot_image.clone()),
            kubernetes: machine.spec.kubernetes.is_some(),
            conflict: self.site.conflict_of(&name),
            name,
        }
    }

    /// The older unfinished host operation this one has to wait for.
    fn older(&self, operation: &MachineOperation) -> Option<String> {
        let all: Vec<Contender> = self
            .site
            .operations()
            .iter()
            .filter(|other| other.spec.operation_kind.is_host())
            .filter(|other| {
                !other
                    .status
                    .as_ref()
                    .and_then(|s| s.phase)
                    .unwrap_or_default()
                    .is_terminal()
            })
            .filter_map(|other| self.contender(other))
            .collect();
        let name = operation.metadata.name.as_deref()?;
        conflicts::waits_for(name, &all).map(str::to_owned)
    }

    fn contender(&self, operation: &MachineOperation) -> Option<Contender> {
        let targets: Vec<String> = match &operation.status {
            Some(status) if !status.targets.is_empty() => status
                .targets
                .iter()
                .filter(|t| !t.phase.is_terminal())
                .map(|t| t.machine_ref.clone())
                .collect(),
            _ => {
                let machines = self.site.machines();
                let machines = machines.iter().map(AsRef::as_ref);
                match targets::resolve(self.site.name(), &operation.spec, machines) {
                    Targets::Machines(names) => names,
                    Targets::NotOurs | Targets::Refused { .. } | Targets::Missing(_) => Vec::new(),
                }
            }
        };
        let keys: BTreeSet<String> = targets
            .iter()
            .flat_map(|name| {
                let machine = self.site.machine(name);
                let redfish = machine
                    .as_deref()
                    .and_then(|m| m.spec.pxe.as_ref())
                    .and_then(|pxe| pxe.redfish.as_ref());
                conflicts::keys(
                    name,
                    redfish.map(|r| (r.url.as_str(), r.device_id.as_deref())),
                )
            })
            .collect();
        Some(Contender {
            name: operation.metadata.name.clone()?,
            created_at: operation
                .metadata
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            keys,
        })
    }
}
