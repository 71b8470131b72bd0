//! Gathers the facts for a step from the site view, the store and the image jobs.

use metalman_api::{
    machine::Machine,
    operation::{MachineOperation, OperationKind, Stage},
    scope,
};

use super::{Driver, sightings};
use crate::{
    domain::{
        Facts, TargetState,
        conflicts::Order,
        facts::{BootSeen, MachineFacts},
    },
    store::StoreError,
};

impl Driver {
    pub(super) async fn gather(
        &self,
        operation: &MachineOperation,
        state: &TargetState,
        name: &str,
        order: &Order,
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
        let boot = if looks_at_boots(state) {
            self.store.boots().latest(name).await?
        } else {
            None
        };
        Ok(Facts {
            suspended,
            waiting_for: if state.started_at.is_none() {
                self.older(operation, name, order)
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
}

/// Whether the next step may look at what the installed system reports.
fn looks_at_boots(state: &TargetState) -> bool {
    match state.kind {
        OperationKind::HostReplace => true,
        OperationKind::HostReboot => {
            state.started_at.is_none() || state.stage == Some(Stage::WaitingBoot)
        }
        OperationKind::HostPowerOff
        | OperationKind::HostPowerOn
        | OperationKind::NodeReboot
        | OperationKind::AgentUpgrade
        | OperationKind::AgentReset => state.started_at.is_none(),
    }
}
