//! Which unfinished operations occupy which machines, from the journal and the site view.

use jiff::Timestamp;
use metalman_api::operation::MachineOperation;

use super::{Driver, journal::Journal};
use crate::domain::conflicts::{self, Order, Turn};

impl Driver {
    /// All unfinished targets in the order in which they may go.
    pub(super) fn order(&self, journal: &Journal) -> Order {
        let mut order = Order::default();
        for (target, turn) in journal.turns() {
            let operation = self.site.operation(&target.operation_name);
            let same = operation.filter(|found| {
                found.metadata.uid.as_deref() == Some(target.operation_uid.as_str())
            });
            // One whose object is gone takes no further step.
            if let Some(operation) = same {
                let keys = self.keys(&target.machine);
                let created_at = created_at(&operation);
                order.add(&target.operation_name, created_at, turn, keys);
            }
        }
        // Those whose Machines are being read keep their place.
        for operation in self.unread() {
            let Some(name) = &operation.metadata.name else {
                continue;
            };
            let keys = match &operation.spec.machine_ref {
                Some(machine) => self.keys(machine),
                None => vec![conflicts::ANY_MACHINE.to_owned()],
            };
            order.add(name, created_at(&operation), Turn::Waits, keys);
        }
        order
    }

    /// The operation a target of this one has to wait for.
    pub(super) fn older(
        &self,
        operation: &MachineOperation,
        machine: &str,
        order: &Order,
    ) -> Option<String> {
        let name = operation.metadata.name.as_deref()?;
        let keys = self.keys(machine);
        order
            .waits_for(name, created_at(operation), &keys)
            .map(str::to_owned)
    }

    fn keys(&self, machine: &str) -> Vec<String> {
        let object = self.site.machine(machine);
        let redfish = object
            .as_deref()
            .and_then(|machine| machine.spec.pxe.as_ref())
            .and_then(|pxe| pxe.redfish.as_ref());
        let bmc = redfish.map(|redfish| (redfish.url.as_str(), redfish.device_id.as_deref()));
        conflicts::keys(machine, bmc)
    }
}

pub(super) fn created_at(operation: &MachineOperation) -> Timestamp {
    operation
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}
