//! What installer and host report, as lines and facts. Pure.

use jiff::Timestamp;
use metalman_api::install::{BootReport, InstallClaim, InstallReport, InstallStage};
use serde_json::json;

use super::words;
use crate::store::{EvidenceKind, NewEvidence, NewTimelineEntry, Observed, TimelineSource};

/// Progress within a stage is told in steps of this many percent.
const TOLD_STEP: u8 = 25;

/// The installer has taken its token.
pub fn install_claimed(
    machine: &str,
    operation: &str,
    at: Timestamp,
    claim: &InstallClaim,
) -> Observed {
    let disks = match claim.disks.len() {
        1 => "1 disk".to_owned(),
        many => format!("{many} disks"),
    };
    let secure = if claim.secure_boot {
        ", Secure Boot"
    } else {
        ""
    };
    let text = format!(
        "installer {} checked in with {disks}{secure}",
        words::clean(&claim.agent_version)
    );
    let detail = json!({
        "bootId": claim.boot_id,
        "mac": claim.mac,
        "machineUuid": claim.machine_uuid,
        "agentVersion": claim.agent_version,
        "disks": claim.disks,
        "secureBoot": claim.secure_boot,
    });
    both(
        machine,
        Some(operation),
        at,
        TimelineSource::Installer,
        Some(text),
        detail,
        EvidenceKind::InstallClaimed,
    )
}

/// The installer reports. Every report is a fact; a line is written when the stage changes, at
/// each quarter of it, and at the end. `previous` is the report before, if known.
pub fn install_reported(
    machine: &str,
    operation: &str,
    at: Timestamp,
    report: &InstallReport,
    previous: Option<&InstallReport>,
) -> Observed {
    let kind = match report.stage {
        InstallStage::Finished => EvidenceKind::ImageWritten,
        InstallStage::Failed => EvidenceKind::InstallFailed,
        InstallStage::Starting
        | InstallStage::ChoosingDisk
        | InstallStage::Discarding
        | InstallStage::Writing
        | InstallStage::Verifying
        | InstallStage::Seeding
        | InstallStage::BootEntry => EvidenceKind::InstallProgress,
    };
    let text = is_told(report, previous).then(|| install_text(report));
    let detail = json!({
        "bootId": report.boot_id,
        "stage": report.stage,
        "percent": report.percent,
        "bytes": report.bytes,
        "totalBytes": report.total_bytes,
        "message": words::clean(&report.message),
        "failure": report.failure,
        "writtenSha256": report.written_sha256,
    });
    both(
        machine,
        Some(operation),
        at,
        TimelineSource::Installer,
        text,
        detail,
        kind,
    )
}

/// A host reports that it runs. Only a boot not heard of before (`is_new`) is told and is a fact;
/// the rest are heartbeats.
pub fn boot_reported(
    machine: &str,
    operation: Option<&str>,
    at: Timestamp,
    report: &BootReport,
    is_new: bool,
) -> Observed {
    if !is_new {
        return Observed::default();
    }
    let text = format!(
        "host is up {} s after its start: kernel {}, agent {}",
        report.uptime_seconds,
        words::clean(&report.kernel),
        words::clean(&report.agent_version)
    );
    let detail = json!({
        "bootId": report.boot_id,
        "machineUuid": report.machine_uuid,
        "kernel": words::clean(&report.kernel),
        "agentVersion": words::clean(&report.agent_version),
        "uptimeSeconds": report.uptime_seconds,
    });
    both(
        machine,
        operation,
        at,
        TimelineSource::Host,
        Some(text),
        detail,
        EvidenceKind::FirstBoot,
    )
}

fn both(
    machine: &str,
    operation: Option<&str>,
    at: Timestamp,
    source: TimelineSource,
    text: Option<String>,
    detail: serde_json::Value,
    kind: EvidenceKind,
) -> Observed {
    let timeline = text.map(|text| NewTimelineEntry {
        machine: machine.to_owned(),
        at,
        source,
        text,
        detail: detail.clone(),
        operation: operation.map(str::to_owned),
    });
    Observed {
        timeline: timeline.into_iter().collect(),
        evidence: vec![NewEvidence {
            machine: machine.to_owned(),
            at,
            kind,
            detail,
        }],
        ..Observed::default()
    }
}

fn is_told(report: &InstallReport, previous: Option<&InstallReport>) -> bool {
    let Some(previous) = previous else {
        return true;
    };
    let step = |report: &InstallReport| report.percent.unwrap_or(0) / TOLD_STEP;
    report.stage != previous.stage || step(report) > step(previous)
}

fn install_text(report: &InstallReport) -> String {
    let doing = match report.stage {
        InstallStage::Starting => "installer starts",
        InstallStage::ChoosingDisk => "choosing the disk",
        InstallStage::Discarding => "discarding old content",
        InstallStage::Writing => "writing the image",
        InstallStage::Verifying => "verifying the disk",
        InstallStage::Seeding => "writing seed and agent",
        InstallStage::BootEntry => "writing the boot entry",
        InstallStage::Finished => return "installation finished, restarting".to_owned(),
        InstallStage::Failed => return failure_text(report),
    };
    let percent = report
        .percent
        .map(|percent| format!(" {percent} %"))
        .unwrap_or_default();
    let amount = if report.total_bytes > 0 {
        let (done, total) = (words::bytes(report.bytes), words::bytes(report.total_bytes));
        format!(" ({done} of {total})")
    } else {
        String::new()
    };
    let message = match report.message.as_str() {
        "" => String::new(),
        message => format!(": {}", words::clean(message)),
    };
    format!("{doing}{percent}{amount}{message}")
}

fn failure_text(report: &InstallReport) -> String {
    let (reason, message) = report
        .failure
        .as_ref()
        .map_or(("Unknown", report.message.as_str()), |failure| {
            (failure.reason.as_str(), failure.message.as_str())
        });
    format!(
        "installation failed, {}: {}",
        words::clean(reason),
        words::clean(message)
    )
}

#[cfg(test)]
mod tests {
    use metalman_api::install::InstallFailure;

    use super::*;

    fn report(stage: InstallStage, percent: Option<u8>) -> InstallReport {
        InstallReport {
            boot_id: "b".into(),
            stage,
            percent,
            bytes: percent.map_or(0, |p| u64::from(p) * 10_000_000),
            total_bytes: percent.map_or(0, |_| 1_000_000_000),
            message: String::new(),
            failure: None,
            written_sha256: None,
        }
    }

    #[test]
    fn progress_is_told_at_stages_and_quarters_but_is_always_a_fact() {
        let mut previous = None;
        let mut told = vec![];
        let mut facts = 0;
        let mut reports = vec![report(InstallStage::ChoosingDisk, None)];
        reports.extend((0..=100).map(|p| report(InstallStage::Writing, Some(p))));
        reports.push(report(InstallStage::Finished, None));
        for report in reports {
            let at = Timestamp::UNIX_EPOCH;
            let seen = install_reported("node-1", "op", at, &report, previous.as_ref());
            told.extend(seen.timeline.into_iter().map(|line| line.text));
            facts += seen.evidence.len();
            previous = Some(report);
        }
        assert_eq!(facts, 103);
        assert_eq!(
            told,
            [
                "choosing the disk",
                "writing the image 0 % (0 B of 1.0 GB)",
                "writing the image 25 % (250.0 MB of 1.0 GB)",
                "writing the image 50 % (500.0 MB of 1.0 GB)",
                "writing the image 75 % (750.0 MB of 1.0 GB)",
                "writing the image 100 % (1.0 GB of 1.0 GB)",
                "installation finished, restarting",
            ]
        );
    }

    #[test]
    fn a_failure_names_its_reason() {
        let mut failed = report(InstallStage::Failed, None);
        failed.failure = Some(InstallFailure {
            reason: "DiskTooSmall".into(),
            message: "/dev/vda is 1 GB, the image needs 3 GB\u{7}".into(),
        });
        let seen = install_reported("node-1", "op", Timestamp::UNIX_EPOCH, &failed, None);
        assert_eq!(seen.evidence[0].kind, EvidenceKind::InstallFailed);
        assert_eq!(
            seen.timeline[0].text,
            "installation failed, DiskTooSmall: /dev/vda is 1 GB, the image needs 3 GB\u{FFFD}"
        );
    }

    #[test]
    fn a_heartbeat_is_nothing_new() {
        let report = BootReport {
            boot_id: "b".into(),
            machine_uuid: None,
            kernel: "6.1.0".into(),
            agent_version: "0.1.0".into(),
            uptime_seconds: 9,
        };
        let at = Timestamp::UNIX_EPOCH;
        assert!(boot_reported("node-1", None, at, &report, false).is_empty());
        let seen = boot_reported("node-1", Some("op"), at, &report, true);
        assert_eq!(seen.evidence[0].kind, EvidenceKind::FirstBoot);
        assert_eq!(
            seen.timeline[0].text,
            "host is up 9 s after its start: kernel 6.1.0, agent 0.1.0"
        );
    }
}
