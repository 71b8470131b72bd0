//! Machines as the site keeps them: packed, with at hand what is asked of all of them at once.
//!
//! A Machine as a Rust value takes four kilobytes and is wanted by a few tasks for a moment; ten
//! thousand of them are kept in a tenth of that. Invariant: what is at hand says the same as the
//! Machine inside.

use std::sync::Arc;

use metalman_api::{
    machine::{Architecture, Machine, SecretRef},
    scope,
};
use sha2::{Digest as _, Sha256};

use crate::packed::{Packed, Packer};

/// A Machine, packed.
#[derive(Debug)]
pub struct KeptMachine {
    /// `metadata.name`.
    pub name: Box<str>,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.resourceVersion`.
    pub version: Box<str>,
    /// This appliance drives it.
    pub is_owned: bool,
    /// It has a BMC.
    pub has_bmc: bool,
    /// How it boots from the network, if it does.
    pub netboot: Option<NetbootWish>,
    /// Differs when anything but the status does.
    content: [u8; 32],
    body: Packed,
}

/// Which boot environment a Machine wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetbootWish {
    /// Image of its own; the appliance's default when absent.
    pub image: Option<Box<str>>,
    /// Registry Secret of that image.
    pub secret: Option<Box<SecretRef>>,
    /// What its processor runs.
    pub architecture: Architecture,
}

impl NetbootWish {
    /// What a Machine says; `None` when it does not netboot.
    pub fn of(machine: &Machine) -> Option<Self> {
        let pxe = machine.spec.pxe.as_ref()?;
        Some(Self {
            image: pxe.netboot_image.as_deref().map(Into::into),
            secret: pxe.netboot_pull_secret_ref.clone().map(Box::new),
            architecture: pxe.architecture,
        })
    }
}

impl KeptMachine {
    /// Packs a Machine for the appliance of `site`; `None` when it has no name.
    pub(super) fn new(packer: &Packer, site: &str, machine: &Machine) -> Option<Self> {
        let meta = &machine.metadata;
        let pxe = machine.spec.pxe.as_ref();
        let text = |field: &Option<String>| field.as_deref().unwrap_or_default().into();
        Some(Self {
            name: meta.name.as_deref()?.into(),
            uid: text(&meta.uid),
            version: text(&meta.resource_version),
            is_owned: scope::owns(site, machine),
            has_bmc: pxe.is_some_and(|pxe| pxe.redfish.is_some()),
            netboot: NetbootWish::of(machine),
            content: content(machine)?,
            body: packer.pack(&serde_json::to_string(machine).ok()?),
        })
    }

    /// The Machine.
    pub fn machine(&self) -> Option<Arc<Machine>> {
        match self.body.read() {
            Ok(machine) => Some(Arc::new(machine)),
            Err(error) => {
                // It was written by the same types.
                tracing::error!(%error, machine.id = %self.name, "a Machine in memory cannot be read");
                None
            }
        }
    }

    /// The Machine as JSON.
    pub fn text(&self) -> String {
        self.body.text()
    }

    /// Whether nothing differs but the status, of which no boot file is made.
    pub fn is_but_for_status(&self, other: &Self) -> bool {
        self.content == other.content
    }
}

/// A digest of everything but the status and what changes with it.
fn content(machine: &Machine) -> Option<[u8; 32]> {
    let meta = &machine.metadata;
    let parts = (
        &meta.name,
        &meta.uid,
        &meta.labels,
        &meta.annotations,
        &machine.spec,
    );
    Some(Sha256::digest(serde_json::to_vec(&parts).ok()?).into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn kept(change: impl FnOnce(&mut Value)) -> KeptMachine {
        let mut machine = json!({
            "apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
            "metadata": { "name": "n1", "uid": "u1", "resourceVersion": "7",
                          "labels": { "unbounded-cloud.io/site": "lab" } },
            "spec": { "pxe": { "netbootImage": "own:1", "dhcpLeases": [],
                "redfish": { "url": "https://b", "username": "u",
                             "passwordRef": { "name": "s", "key": "k" } } } },
        });
        change(&mut machine);
        let machine = serde_json::from_value(machine).unwrap();
        KeptMachine::new(&Packer::default(), "lab", &machine).unwrap()
    }

    #[test]
    fn what_is_at_hand_says_the_same_as_the_machine() {
        let plain = kept(|_| {});
        assert!(plain.is_owned && plain.has_bmc);
        assert_eq!((&*plain.uid, &*plain.version), ("u1", "7"));
        let machine = plain.machine().unwrap();
        assert_eq!(machine.metadata.name.as_deref(), Some("n1"));
        assert_eq!(NetbootWish::of(&machine), plain.netboot);
        let foreign = kept(|machine| machine["spec"] = json!({ "provider": "cloud" }));
        assert!(!foreign.is_owned && !foreign.has_bmc && foreign.netboot.is_none());
    }

    #[test]
    fn a_status_makes_no_difference_and_everything_else_does() {
        let plain = kept(|_| {});
        let same = kept(|machine| {
            machine["status"] = json!({ "phase": "Ready" });
            machine["metadata"]["resourceVersion"] = json!("8");
        });
        assert!(plain.is_but_for_status(&same));
        for pointer in ["/metadata/uid", "/metadata/annotations", "/spec/pxe/image"] {
            let other = kept(|machine| {
                let (parent, field) = pointer.rsplit_once('/').unwrap();
                let value = match field {
                    "annotations" => json!({ "a": "b" }),
                    _ => json!("other"),
                };
                machine.pointer_mut(parent).unwrap()[field] = value;
            });
            assert!(!plain.is_but_for_status(&other), "{pointer}");
        }
    }
}
