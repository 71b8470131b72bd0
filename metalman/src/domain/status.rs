//! From journal states to the status users see.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use metalman_api::operation::{
    EvidenceStatus, MachineOperationStatus, OperationKind, Phase, TargetInput, TargetStatus,
};

use super::state::TargetState;

/// Status of an operation from the states of its targets, which must be sorted by machine.
pub fn operation_status(
    targets: &[(String, TargetState)],
    previous: &[Condition],
    generation: Option<i64>,
) -> MachineOperationStatus {
    let count = |phase: Phase| targets.iter().filter(|(_, t)| t.phase == phase).count();
    let (complete, failed) = (count(Phase::Complete), count(Phase::Failed));
    let ended = complete + failed == targets.len() && !targets.is_empty();
    let started = targets.iter().filter_map(|(_, t)| t.started_at).min();
    let phase = match (ended, failed, started) {
        (true, 0, _) => Phase::Complete,
        (true, _, _) => Phase::Failed,
        (false, _, Some(_)) => Phase::InProgress,
        (false, _, None) => Phase::Pending,
    };
    let message = match targets {
        [(_, only)] => only.message.clone(),
        _ => format!(
            "{complete} complete, {failed} failed, {} in progress, {} pending",
            count(Phase::InProgress),
            count(Phase::Pending)
        ),
    };
    let completed_at = if ended {
        targets.iter().filter_map(|(_, t)| t.completed_at).max()
    } else {
        None
    };
    let reason = match (phase, targets) {
        (Phase::Complete, _) => "Succeeded",
        (Phase::Failed, [(_, only)]) => only.reason.as_str(),
        (Phase::Failed, _) => "TargetFailed",
        (Phase::Pending | Phase::InProgress, [(_, only)]) => only.reason.as_str(),
        (Phase::InProgress | Phase::Pending, _) => "InProgress",
    };
    let at = completed_at
        .or_else(|| targets.iter().map(|(_, t)| t.stage_since).max())
        .unwrap_or(Timestamp::UNIX_EPOCH);
    let verdict = if phase == Phase::Complete {
        "True"
    } else {
        "False"
    };
    let mut conditions = vec![condition(
        "Completed",
        verdict,
        reason,
        &message,
        at,
        generation,
    )];
    if targets
        .iter()
        .any(|(_, t)| t.kind == OperationKind::HostReplace)
    {
        conditions.extend(milestones(targets, generation));
    }
    keep_transition_times(&mut conditions, previous);
    MachineOperationStatus {
        phase: Some(phase),
        message: Some(message),
        started_at: started.map(Time),
        completed_at: completed_at.map(Time),
        observed_machine_generation: match targets {
            [(_, only)] => only.machine_generation,
            _ => None,
        },
        targets: targets
            .iter()
            .map(|(machine, t)| target_status(machine, t))
            .collect(),
        conditions,
    }
}

fn target_status(machine: &str, t: &TargetState) -> TargetStatus {
    TargetStatus {
        machine_ref: machine.to_owned(),
        phase: t.phase,
        stage: if t.phase.is_terminal() { None } else { t.stage },
        message: Some(waits_until(t)),
        started_at: t.started_at.map(Time),
        completed_at: t.completed_at.map(Time),
        deadline: t.deadline.map(Time),
        observed_generation: t.machine_generation,
        attempts: t.attempts,
        last_attempt_at: t.last_attempt_at.map(Time),
        percent: t.percent.map(i32::from),
        input: t.input.as_ref().map(|input| TargetInput {
            host_image: Some(input.host_image.clone()),
            host_image_digest: Some(input.host_image_digest.clone()),
            netboot_image_digest: Some(input.netboot_image_digest.clone()),
        }),
        evidence: t
            .evidence
            .iter()
            .map(|e| EvidenceStatus {
                kind: e.kind.clone(),
                at: Time(e.at),
                detail: (!e.detail.is_empty()).then(|| e.detail.clone()),
            })
            .collect(),
        conditions: if t.clear_unsupported {
            vec![condition(
                "RedfishDisableBootOverrideUnsupported",
                "True",
                "Unsupported",
                "the BMC keeps its boot override; GRUB starts the disk all the same",
                t.stage_since,
                t.machine_generation,
            )]
        } else {
            Vec::new()
        },
    }
}

/// The message with the end of the wait, when there is one.
fn waits_until(t: &TargetState) -> String {
    match t.deadline {
        Some(deadline) if !t.phase.is_terminal() => {
            format!("{} (until {})", t.message, deadline.strftime("%H:%M:%SZ"))
        }
        _ => t.message.clone(),
    }
}

/// The repave milestones: each is True only when it holds for every target.
fn milestones(targets: &[(String, TargetState)], generation: Option<i64>) -> Vec<Condition> {
    [
        ("BootLoaderDownloaded", "GrubInstall", "Downloaded"),
        ("BootImageWritten", "ImageWritten", "Succeeded"),
    ]
    .into_iter()
    .map(|(kind, evidence, reason)| {
        let times: Option<Vec<Timestamp>> = targets
            .iter()
            .map(|(_, t)| {
                t.evidence
                    .iter()
                    .rfind(|e| e.kind == evidence)
                    .map(|e| e.at)
            })
            .collect();
        match times.and_then(|times| times.into_iter().max()) {
            Some(at) => condition(kind, "True", reason, "", at, generation),
            None => {
                let since = targets.iter().filter_map(|(_, t)| t.started_at).min();
                let at = since.unwrap_or(Timestamp::UNIX_EPOCH);
                condition(kind, "Unknown", "Pending", "", at, generation)
            }
        }
    })
    .collect()
}

/// A condition with its five fields.
pub fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    at: Timestamp,
    generation: Option<i64>,
) -> Condition {
    Condition {
        type_: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_time: Time(at),
        observed_generation: generation,
    }
}

/// `lastTransitionTime` moves only when `status` does (Kubernetes API conventions).
pub fn keep_transition_times(conditions: &mut [Condition], previous: &[Condition]) {
    for condition in conditions {
        if let Some(old) = previous
            .iter()
            .find(|p| p.type_ == condition.type_ && p.status == condition.status)
        {
            condition.last_transition_time = old.last_transition_time.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: OperationKind, phase: Phase, reason: &str) -> TargetState {
        let now = Timestamp::from_second(1000).unwrap();
        let mut state = TargetState::new(kind, now);
        state.phase = phase;
        state.reason = reason.into();
        state.started_at = (phase != Phase::Pending).then_some(now);
        state.completed_at = phase.is_terminal().then_some(now);
        state
    }

    #[test]
    fn one_failed_target_fails_the_operation_after_all_have_ended() {
        let kind = OperationKind::HostReboot;
        let running = [
            ("n1".to_owned(), target(kind, Phase::Failed, "X")),
            ("n2".to_owned(), target(kind, Phase::InProgress, "")),
        ];
        let status = operation_status(&running, &[], None);
        assert_eq!(status.phase, Some(Phase::InProgress));
        let ended = [
            ("n1".to_owned(), target(kind, Phase::Failed, "X")),
            ("n2".to_owned(), target(kind, Phase::Complete, "")),
        ];
        let status = operation_status(&ended, &[], None);
        assert_eq!(status.phase, Some(Phase::Failed));
        assert_eq!(status.conditions[0].reason, "TargetFailed");
        assert!(status.completed_at.is_some());
    }

    #[test]
    fn a_single_target_lends_its_reason() {
        let only = [(
            "n1".to_owned(),
            target(OperationKind::HostReplace, Phase::Failed, "NoLease"),
        )];
        let status = operation_status(&only, &[], None);
        assert_eq!(status.conditions[0].reason, "NoLease");
        assert_eq!(status.conditions[0].status, "False");
    }

    #[test]
    fn transition_times_stay_while_the_status_stays() {
        let old = condition(
            "A",
            "True",
            "R",
            "",
            Timestamp::from_second(1).unwrap(),
            None,
        );
        let mut new = [condition(
            "A",
            "True",
            "S",
            "",
            Timestamp::from_second(2).unwrap(),
            None,
        )];
        keep_transition_times(&mut new, std::slice::from_ref(&old));
        assert_eq!(new[0].last_transition_time, old.last_transition_time);
    }
}
