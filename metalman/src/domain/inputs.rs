//! Checks that need nothing but the Machine: done before power is touched.

use metalman_api::operation::OperationKind;

use super::facts::MachineFacts;

/// A named refusal: reason and message with object, field and cure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// CamelCase.
    pub reason: &'static str,
    /// Text for people.
    pub message: String,
}

/// Refuses what cannot work, before anything is touched.
///
/// # Errors
/// The first [`Refusal`] that applies.
pub fn check(kind: OperationKind, machine: Option<&MachineFacts>) -> Result<(), Refusal> {
    let Some(machine) = machine else {
        return Err(Refusal {
            reason: "MachineNotFound",
            message: "the Machine named in spec.machineRef does not exist; create it first".into(),
        });
    };
    let name = &machine.name;
    let refuse = |reason, message: String| Err(Refusal { reason, message });
    if !machine.owned {
        return refuse(
            "TargetNoLongerOwned",
            format!(
                "Machine {name} does not carry this appliance's site label any more; restore metadata.labels[unbounded-cloud.io/site]"
            ),
        );
    }
    if !machine.has_redfish {
        return refuse(
            "UnsupportedTarget",
            format!(
                "Machine {name} has no BMC: set spec.pxe.redfish to use {}",
                kind.as_str()
            ),
        );
    }
    if kind != OperationKind::HostReplace {
        return Ok(());
    }
    if let Some(conflict) = &machine.conflict {
        return refuse("AddressConflict", format!("Machine {name}: {conflict}"));
    }
    if machine.leases == 0 {
        return refuse(
            "NoLease",
            format!(
                "Machine {name} has no address: add its MAC and IPv4 address to spec.pxe.dhcpLeases"
            ),
        );
    }
    if machine.image.is_none() {
        return refuse(
            "NoImage",
            format!("Machine {name} has no image: set spec.pxe.image to an OCI reference"),
        );
    }
    if machine.netboot_image.is_none() {
        return refuse(
            "NoNetbootImage",
            format!(
                "Machine {name} has no boot environment: set spec.pxe.netbootImage, or start the appliance with --default-netboot-image"
            ),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> MachineFacts {
        MachineFacts {
            name: "n1".into(),
            generation: Some(1),
            owned: true,
            has_redfish: true,
            leases: 1,
            image: Some("oci-layout:/x".into()),
            netboot_image: Some("oci-layout:/y".into()),
            kubernetes: false,
            conflict: None,
        }
    }

    fn reason(kind: OperationKind, machine: Option<&MachineFacts>) -> &'static str {
        check(kind, machine).err().map_or("ok", |r| r.reason)
    }

    #[test]
    fn each_missing_input_has_its_own_reason() {
        let replace = OperationKind::HostReplace;
        assert_eq!(reason(replace, None), "MachineNotFound");
        assert_eq!(reason(replace, Some(&good())), "ok");
        for (change, want) in [
            (
                (|m| m.owned = false) as fn(&mut MachineFacts),
                "TargetNoLongerOwned",
            ),
            (|m| m.has_redfish = false, "UnsupportedTarget"),
            (|m| m.leases = 0, "NoLease"),
            (|m| m.image = None, "NoImage"),
            (|m| m.netboot_image = None, "NoNetbootImage"),
            (
                |m| m.conflict = Some("MAC is also claimed by n2".into()),
                "AddressConflict",
            ),
        ] {
            let mut machine = good();
            change(&mut machine);
            assert_eq!(reason(replace, Some(&machine)), want);
        }
    }

    #[test]
    fn power_kinds_need_only_a_bmc() {
        let machine = MachineFacts {
            leases: 0,
            image: None,
            ..good()
        };
        assert_eq!(reason(OperationKind::HostReboot, Some(&machine)), "ok");
    }
}
