//! Which machines an operation means, decided once when it starts.

use std::borrow::Borrow;

use metalman_api::machine::Machine;
use metalman_api::operation::MachineOperationSpec;
use metalman_api::scope::{self, SelectorScope};

/// Outcome of resolving an operation's targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// These machines, sorted by name.
    Machines(Vec<String>),
    /// Another appliance's business.
    NotOurs,
    /// It cannot be carried out.
    Refused {
        /// CamelCase.
        reason: &'static str,
        /// Text with field and cure.
        message: String,
    },
    /// The Machine is not there (yet).
    Missing(String),
}

/// Resolves the targets of a host operation for the appliance of `site`.
pub fn resolve<M: Borrow<Machine>>(
    site: &str,
    spec: &MachineOperationSpec,
    machines: impl Iterator<Item = M>,
) -> Targets {
    let mut machines = machines;
    match (&spec.machine_ref, &spec.machine_selector) {
        (Some(name), None) => {
            match machines.find(|m| m.borrow().metadata.name.as_deref() == Some(name.as_str())) {
                None => Targets::Missing(name.clone()),
                Some(machine) if scope::owns(site, machine.borrow()) => Targets::Machines(vec![name.clone()]),
                Some(_) => Targets::NotOurs,
            }
        }
        (None, Some(selector)) => match scope::selector_scope(selector) {
            SelectorScope::Site(pinned) if pinned == site && !site.is_empty() => {
                let mut names: Vec<String> = machines
                    .filter(|m| scope::owns(site, m.borrow()))
                    .filter(|m| {
                        let pxe = m.borrow().spec.pxe.as_ref();
                        pxe.is_some_and(|pxe| pxe.redfish.is_some())
                    })
                    .filter(|m| {
                        let labels = m.borrow().metadata.labels.as_ref();
                        labels.is_some_and(|l| scope::matches(selector, l))
                    })
                    .filter_map(|m| m.borrow().metadata.name.clone())
                    .collect();
                names.sort();
                if names.is_empty() {
                    Targets::Refused {
                        reason: "NoMatchingOwnedMachines",
                        message: "spec.machineSelector matches no Machine with a BMC of this site"
                            .into(),
                    }
                } else {
                    Targets::Machines(names)
                }
            }
            SelectorScope::Site(_) => Targets::NotOurs,
            SelectorScope::Unpinned => Targets::Refused {
                reason: "InvalidTargetScope",
                message: "spec.machineSelector of a host operation must pin one site: add matchLabels unbounded-cloud.io/site".into(),
            },
        },
        (Some(_), Some(_)) | (None, None) => Targets::Refused {
            reason: "InvalidTargetScope",
            message: "exactly one of spec.machineRef and spec.machineSelector must be set".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use metalman_api::machine::{PxeSpec, RedfishSpec, SITE_LABEL};
    use metalman_api::operation::OperationKind;

    use super::*;

    fn machine(name: &str, site: &str) -> Machine {
        let mut machine = Machine::default();
        machine.metadata.name = Some(name.into());
        machine.metadata.labels = Some([(SITE_LABEL.to_owned(), site.to_owned())].into());
        machine.spec.pxe = Some(PxeSpec {
            redfish: Some(RedfishSpec::default()),
            ..PxeSpec::default()
        });
        machine
    }

    fn by_ref(name: &str) -> MachineOperationSpec {
        MachineOperationSpec {
            machine_ref: Some(name.into()),
            operation_kind: OperationKind::HostReboot,
            ..MachineOperationSpec::default()
        }
    }

    fn by_site(site: Option<&str>) -> MachineOperationSpec {
        let selector = serde_json::json!({
            "matchLabels": site.map(|s| serde_json::json!({ SITE_LABEL: s })).unwrap_or_default()
        });
        MachineOperationSpec {
            machine_selector: serde_json::from_value(selector).ok(),
            ..MachineOperationSpec::default()
        }
    }

    #[test]
    fn a_reference_finds_its_machine_or_says_it_is_missing() {
        let all = [machine("n1", "a"), machine("n2", "b")];
        assert_eq!(
            resolve("a", &by_ref("n1"), all.iter()),
            Targets::Machines(vec!["n1".into()])
        );
        assert_eq!(resolve("a", &by_ref("n2"), all.iter()), Targets::NotOurs);
        assert_eq!(
            resolve("a", &by_ref("n9"), all.iter()),
            Targets::Missing("n9".into())
        );
    }

    #[test]
    fn a_selector_must_pin_our_site() {
        let all = [machine("n3", "a"), machine("n1", "a"), machine("n2", "b")];
        assert_eq!(
            resolve("a", &by_site(Some("a")), all.iter()),
            Targets::Machines(vec!["n1".into(), "n3".into()])
        );
        assert_eq!(
            resolve("a", &by_site(Some("b")), all.iter()),
            Targets::NotOurs
        );
        assert!(matches!(
            resolve("a", &by_site(None), all.iter()),
            Targets::Refused {
                reason: "InvalidTargetScope",
                ..
            }
        ));
    }
}
