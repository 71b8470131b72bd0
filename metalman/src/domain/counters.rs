//! The older interface: counters on a Machine that ask for an operation.

use metalman_api::machine::OperationCounters;
use metalman_api::operation::{OperationKind, Phase};

/// What a raised counter asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterRequest {
    /// Name of the operation to create; the same counter value gives the same name.
    pub name: String,
    /// Its kind.
    pub kind: OperationKind,
}

/// The operation the counters of a Machine ask for. A repave restarts the host too, so it goes
/// before a reboot.
pub fn wanted(
    machine: &str,
    spec: OperationCounters,
    status: OperationCounters,
) -> Option<CounterRequest> {
    if spec.repave_counter > status.repave_counter {
        return Some(CounterRequest {
            name: format!("{machine}-repave-{}", spec.repave_counter),
            kind: OperationKind::HostReplace,
        });
    }
    (spec.reboot_counter > status.reboot_counter).then(|| CounterRequest {
        name: format!("{machine}-reboot-{}", spec.reboot_counter),
        kind: OperationKind::HostReboot,
    })
}

/// The status counters once the requested operation has ended; `None` while it has not.
/// A failed operation leaves its counter behind, so that it is seen and can be raised again.
pub fn followed(
    request: &CounterRequest,
    phase: Phase,
    spec: OperationCounters,
    status: OperationCounters,
) -> Option<OperationCounters> {
    match phase {
        Phase::Complete => Some(match request.kind {
            OperationKind::HostReplace => OperationCounters {
                repave_counter: spec.repave_counter,
                // The plugin's repave raises both; the restart has happened on the way.
                reboot_counter: spec.reboot_counter.max(status.reboot_counter),
            },
            OperationKind::HostReboot
            | OperationKind::HostPowerOff
            | OperationKind::HostPowerOn
            | OperationKind::NodeReboot
            | OperationKind::AgentUpgrade
            | OperationKind::AgentReset => OperationCounters {
                reboot_counter: spec.reboot_counter,
                ..status
            },
        }),
        Phase::Pending | Phase::InProgress | Phase::Failed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(reboot: i64, repave: i64) -> OperationCounters {
        OperationCounters {
            reboot_counter: reboot,
            repave_counter: repave,
        }
    }

    #[test]
    fn a_repave_request_covers_its_reboot() {
        let request = wanted("n1", counters(3, 2), counters(2, 1)).unwrap();
        assert_eq!(request.name, "n1-repave-2");
        assert_eq!(request.kind, OperationKind::HostReplace);
        assert_eq!(
            followed(&request, Phase::InProgress, counters(3, 2), counters(2, 1)),
            None
        );
        let after = followed(&request, Phase::Complete, counters(3, 2), counters(2, 1)).unwrap();
        assert_eq!(after, counters(3, 2));
        assert_eq!(wanted("n1", counters(3, 2), after), None);
    }

    #[test]
    fn a_reboot_request_leaves_the_repave_counter_alone() {
        let request = wanted("n1", counters(3, 1), counters(2, 1)).unwrap();
        assert_eq!(request.name, "n1-reboot-3");
        assert_eq!(
            followed(&request, Phase::Complete, counters(3, 1), counters(2, 1)),
            Some(counters(3, 1))
        );
        assert_eq!(
            followed(&request, Phase::Failed, counters(3, 1), counters(2, 1)),
            None
        );
    }
}
