//! What an operation waits for before any of its targets takes a step, in words. Pure.

use jiff::Timestamp;
use metalman_api::operation::{MachineOperationSpec, MachineOperationStatus};

use super::status::{condition, keep_transition_times};

/// Why nothing is done yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// CamelCase.
    pub reason: &'static str,
    /// What is awaited, for people.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

impl Wait {
    /// For Machines that cannot be read as they are now; `error` says why.
    pub fn api_server(spec: &MachineOperationSpec, error: &str, since: Timestamp) -> Self {
        let what = match &spec.machine_ref {
            Some(name) => format!("Machine {name}"),
            None => "the Machines of spec.machineSelector".to_owned(),
        };
        Self {
            reason: "WaitingForApiServer",
            message: format!(
                "waiting for the API server: {what} cannot be read as of now: {error}; will try again"
            ),
            since,
        }
    }

    /// For a Machine that is created after its operation.
    pub fn machine(name: &str, until: Timestamp, since: Timestamp) -> Self {
        Self {
            reason: "WaitingForMachine",
            message: format!(
                "waiting for Machine {name}, which does not exist: create it, or delete the operation (until {})",
                until.strftime("%H:%M:%SZ")
            ),
            since,
        }
    }

    /// Whether both are told in the same words.
    pub fn says_the_same(&self, other: &Self) -> bool {
        (self.reason, &self.message) == (other.reason, &other.message)
    }
}

/// Shows a wait on the status of an operation.
pub fn show(
    wait: &Wait,
    status: &mut MachineOperationStatus,
    previous: &MachineOperationStatus,
    generation: Option<i64>,
) {
    let (reason, message) = (wait.reason, wait.message.as_str());
    let mut completed = [condition(
        "Completed",
        "False",
        reason,
        message,
        wait.since,
        generation,
    )];
    keep_transition_times(&mut completed, &previous.conditions);
    status.message = Some(wait.message.clone());
    status.conditions.retain(|c| c.type_ != "Completed");
    status.conditions.splice(0..0, completed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::status::operation_status;

    #[test]
    fn a_wait_is_shown_with_and_without_targets_and_its_time_stays() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let spec = MachineOperationSpec {
            machine_ref: Some("n1".into()),
            ..MachineOperationSpec::default()
        };
        let mut shown = MachineOperationStatus::default();
        for (second, error) in [(10, "no route"), (20, "refused")] {
            let wait = Wait::api_server(&spec, error, at(second));
            let mut status = operation_status(&[], &shown.conditions, Some(1));
            show(&wait, &mut status, &shown, Some(1));
            let completed = &status.conditions[0];
            assert_eq!(completed.reason, "WaitingForApiServer");
            assert!(completed.message.contains("Machine n1"), "{completed:?}");
            assert!(completed.message.contains(error), "{completed:?}");
            assert_eq!(completed.last_transition_time.0, at(10));
            assert_eq!(status.message.as_ref(), Some(&completed.message));
            assert_eq!(status.conditions.len(), 1);
            shown = status;
        }
        let missing = Wait::machine("n9", at(60), at(0));
        assert!(missing.message.contains("n9") && missing.message.contains("00:01:00Z"));
    }
}
