//! Repave steps: prepare, netboot once with a one-shot token, prove the write, start the disk.
//!
//! Invariant: power is not touched before both images are fetched and verified, and after the
//! write was proved no step powers the machine off again.

use jiff::Timestamp;
use metalman_api::operation::Stage;

use super::facts::{BootOverride, Facts, Images, SightingKind};
use super::power::{self, Progress};
use super::state::TargetState;
use super::step::{Action, Limits};

/// Next step of a repave.
pub(super) fn step(
    now: Timestamp,
    next: &mut TargetState,
    facts: &Facts,
    limits: &Limits,
) -> Vec<Action> {
    match next.stage {
        Some(Stage::Preparing) => prepare(now, next, facts, limits),
        Some(Stage::PoweringOff | Stage::WaitingOff) => {
            if power::power_off(now, next, facts, limits) == Progress::Waiting {
                return power::actions_of(next, facts, limits, now, Action::ForceOff);
            }
            next.enter(
                Stage::SettingBoot,
                now,
                "waiting for the BMC to show network boot for the next start",
            );
            next.install_attempts = next.install_attempts.saturating_add(1);
            next.percent = None;
            next.armed_at = Some(now);
            next.attempt(now);
            let expires_at = token_end(now, limits);
            vec![Action::MintToken { expires_at }, Action::SetNetworkBoot]
        }
        Some(Stage::SettingBoot) => set_boot(now, next, facts, limits),
        Some(Stage::PoweringOn | Stage::WaitingOn) => {
            match power::drive_on(now, next, facts, limits) {
                Err(actions) => actions,
                Ok(()) => {
                    next.enter(
                        Stage::WaitingRepave,
                        now,
                        "waiting for the machine to netboot",
                    );
                    next.deadline = now.checked_add(limits.netboot).ok();
                    Vec::new()
                }
            }
        }
        Some(Stage::WaitingRepave) => wait_for_write(now, next, facts, limits),
        Some(Stage::ClearingBoot) => {
            let actions = power::clear_boot(now, next, facts, limits, Stage::WaitingBoot);
            if next.stage == Some(Stage::WaitingBoot) {
                next.message = "waiting for the installed system to report its first boot".into();
                next.deadline = now.checked_add(limits.first_boot).ok();
            }
            actions
        }
        Some(Stage::WaitingBoot) => wait_for_first_boot(now, next, facts, limits),
        Some(Stage::WaitingNode) => wait_for_node(now, next, facts),
        Some(Stage::WaitingCloudInit) | None => {
            next.fail(now, "InternalError", "a repave has no such step");
            Vec::new()
        }
    }
}

fn token_end(now: Timestamp, limits: &Limits) -> Timestamp {
    // Unclaimed tokens end with the netboot wait; a claimed one serves its installer to the end.
    now.checked_add(limits.netboot.saturating_add(limits.resend))
        .unwrap_or(now)
}

fn prepare(now: Timestamp, next: &mut TargetState, facts: &Facts, limits: &Limits) -> Vec<Action> {
    next.deadline = next.stage_since.checked_add(limits.prepare).ok();
    if let Some(trouble) = facts
        .trouble_since(next.stage_since)
        .filter(|t| !t.transient)
    {
        next.fail(now, &trouble.reason, &trouble.message);
        return Vec::new();
    }
    if next.deadline.is_some_and(|deadline| now >= deadline) {
        let message = format!("not ready in time; last: {}", next.message);
        next.fail(now, "TimedOut", message);
        return Vec::new();
    }
    match &facts.images {
        Images::Unknown => vec![Action::PrepareImages],
        Images::Working(message) => {
            next.reason = "FetchingImages".into();
            next.message.clone_from(message);
            Vec::new()
        }
        Images::Failed(trouble) if !trouble.transient => {
            next.fail(now, &trouble.reason, &trouble.message);
            Vec::new()
        }
        Images::Failed(trouble) => {
            next.reason.clone_from(&trouble.reason);
            next.message = format!("{}; will try again", trouble.message);
            if now.duration_since(trouble.at) >= limits.poll {
                vec![Action::PrepareImages]
            } else {
                Vec::new()
            }
        }
        Images::Ready(input) => {
            if facts.power_since(next.stage_since).is_none() {
                if let Some(trouble) = facts.trouble_since(next.stage_since) {
                    next.reason.clone_from(&trouble.reason);
                    next.message = format!("{}; will try again", trouble.message);
                } else {
                    next.reason = "WaitingForBmc".into();
                    next.message =
                        "images are ready; waiting for the BMC to tell the power state".into();
                }
                return power::read_when_stale(now, facts, limits);
            }
            next.input = Some(input.clone());
            next.enter(Stage::PoweringOff, now, "images are ready; powering off");
            Vec::new()
        }
    }
}

fn set_boot(now: Timestamp, next: &mut TargetState, facts: &Facts, limits: &Limits) -> Vec<Action> {
    if facts.boot_override_since(next.stage_since) == Some(BootOverride::Network) {
        next.prove("BootOverrideSet", now, "read back from the BMC");
        next.enter(Stage::PoweringOn, now, "powering on");
        return Vec::new();
    }
    let trouble = facts.trouble_since(next.stage_since).cloned();
    if let Some(trouble) = &trouble {
        if next.attempts >= limits.max_attempts || trouble.reason == "Unauthorized" {
            next.fail(now, &trouble.reason, &trouble.message);
            return Vec::new();
        }
        if now.duration_since(trouble.at) < limits.poll {
            next.reason.clone_from(&trouble.reason);
            next.message = format!("{}; will try again", trouble.message);
            return Vec::new();
        }
    } else if next
        .last_attempt_at
        .is_some_and(|at| now.duration_since(at) < limits.poll)
    {
        return Vec::new();
    } else if next.attempts >= limits.max_attempts {
        next.fail(
            now,
            "BootOverrideIgnored",
            "the BMC shows no network boot after the command",
        );
        return Vec::new();
    }
    next.attempt(now);
    vec![Action::SetNetworkBoot]
}

fn wait_for_write(
    now: Timestamp,
    next: &mut TargetState,
    facts: &Facts,
    limits: &Limits,
) -> Vec<Action> {
    let since = next.armed_at.unwrap_or(next.stage_since);
    let mut latest: Option<&super::facts::Sighting> = None;
    for sighting in facts.sightings.iter().filter(|s| s.at >= since) {
        match &sighting.kind {
            SightingKind::Written(hash) => {
                return written(now, next, sighting.at, hash);
            }
            SightingKind::InstallFailed(reason) => {
                let reason = reason.clone();
                return install_failed(now, next, limits, &reason, &sighting.detail);
            }
            SightingKind::Progress(percent) => next.percent = percent.or(next.percent),
            SightingKind::Claimed => next.prove("InstallClaimed", sighting.at, &sighting.detail),
            SightingKind::GrubInstall => next.prove("GrubInstall", sighting.at, &sighting.detail),
            SightingKind::Dhcp
            | SightingKind::BootFile
            | SightingKind::LoaderRefused
            | SightingKind::GrubLocalDisk => {}
        }
        latest = Some(sighting);
    }
    if let Some(refused) = refusal(facts, since) {
        next.reason = "BootLoaderRefused".into();
        next.message.clone_from(&refused.detail);
        // Another try meets the same keys; but the firmware may have another NIC to try.
        if now.duration_since(refused.at) >= limits.refusal {
            next.fail(now, "BootLoaderRefused", &refused.detail);
            return Vec::new();
        }
    } else if let Some(latest) = latest {
        next.reason = "Installing".into();
        next.message.clone_from(&latest.detail);
        if matches!(
            latest.kind,
            SightingKind::Claimed | SightingKind::Progress(_)
        ) {
            next.deadline = latest.at.checked_add(limits.install_silence).ok();
        }
    } else {
        next.reason = "WaitingForNetboot".into();
    }
    if next.deadline.is_none_or(|deadline| now < deadline) {
        return Vec::new();
    }
    let diagnosis = diagnose(facts, since);
    again_or_fail(now, next, limits, "NoBootProgress", &diagnosis)
}

/// A boot loader that did not start, and nothing that a loader does has been seen since.
fn refusal(facts: &Facts, since: Timestamp) -> Option<&super::facts::Sighting> {
    let mut refused = None;
    for sighting in facts.sightings.iter().filter(|s| s.at >= since) {
        match sighting.kind {
            SightingKind::LoaderRefused => refused = Some(sighting),
            // The old system on the disk may ask for an address now.
            SightingKind::Dhcp | SightingKind::BootFile => {}
            SightingKind::GrubInstall
            | SightingKind::GrubLocalDisk
            | SightingKind::Claimed
            | SightingKind::Progress(_)
            | SightingKind::Written(_)
            | SightingKind::InstallFailed(_) => refused = None,
        }
    }
    refused
}

fn written(now: Timestamp, next: &mut TargetState, at: Timestamp, hash: &str) -> Vec<Action> {
    let wanted = next
        .input
        .as_ref()
        .map(|input| input.raw_sha256.as_str())
        .unwrap_or_default();
    if hash != wanted {
        let message = format!(
            "the installer read back sha256:{hash} from the disk, the image has sha256:{wanted}"
        );
        next.fail(now, "DigestMismatch", message);
        return Vec::new();
    }
    next.percent = Some(100);
    next.image_written_at = Some(at);
    next.prove("ImageWritten", at, format!("disk content is sha256:{hash}"));
    next.enter(
        Stage::ClearingBoot,
        now,
        "image written and verified; waiting for the BMC to show no boot override any more",
    );
    next.attempt(now);
    vec![Action::RevokeTokens, Action::ClearBootOverride]
}

/// Reasons that another try cannot cure.
fn is_final(reason: &str) -> bool {
    matches!(
        reason,
        "NoSuitableDisk"
            | "AmbiguousDisk"
            | "DiskTooSmall"
            | "ImageCorrupt"
            | "DigestMismatch"
            | "SeedFailed"
    )
}

fn install_failed(
    now: Timestamp,
    next: &mut TargetState,
    limits: &Limits,
    reason: &str,
    detail: &str,
) -> Vec<Action> {
    if is_final(reason) {
        next.fail(now, reason, detail);
        return Vec::new();
    }
    again_or_fail(now, next, limits, reason, detail)
}

fn again_or_fail(
    now: Timestamp,
    next: &mut TargetState,
    limits: &Limits,
    reason: &str,
    detail: &str,
) -> Vec<Action> {
    if next.install_attempts >= limits.max_attempts {
        let message = format!(
            "{detail} (after {} installation attempts)",
            next.install_attempts
        );
        next.fail(now, reason, message);
        return Vec::new();
    }
    next.enter(
        Stage::PoweringOff,
        now,
        format!("{detail}; starting installation again"),
    );
    vec![Action::RevokeTokens, Action::ReadSystem]
}

/// Says how far the machine came, from what was seen last.
fn diagnose(facts: &Facts, since: Timestamp) -> String {
    let seen = |wanted: fn(&SightingKind) -> bool| {
        facts
            .sightings
            .iter()
            .any(|s| s.at >= since && wanted(&s.kind))
    };
    if seen(|k| matches!(k, SightingKind::Claimed)) {
        "the installer stopped reporting; look at the machine's console".into()
    } else if seen(|k| matches!(k, SightingKind::GrubInstall)) {
        "GRUB was told to install, but the installer never reported; kernel or initrd did not start"
            .into()
    } else if seen(|k| matches!(k, SightingKind::BootFile)) {
        "the boot loader was fetched, but GRUB never asked for its configuration; Secure Boot may have refused it".into()
    } else if seen(|k| matches!(k, SightingKind::Dhcp)) {
        "the machine asked for an address, but fetched no boot file; another DHCP server may answer first".into()
    } else {
        "no DHCP request from the machine; check its boot order, its cabling and spec.pxe.dhcpLeases[].mac".into()
    }
}

fn wait_for_first_boot(
    now: Timestamp,
    next: &mut TargetState,
    facts: &Facts,
    limits: &Limits,
) -> Vec<Action> {
    let written = next.image_written_at.unwrap_or(next.stage_since);
    let fresh = facts.boot.as_ref().filter(|boot| {
        boot.first_seen >= written && Some(&boot.boot_id) != next.boot_id_before.as_ref()
    });
    if let Some(boot) = fresh {
        next.prove(
            "FirstBoot",
            boot.first_seen,
            format!("boot id {}", boot.boot_id),
        );
        if facts
            .machine
            .as_ref()
            .is_some_and(|machine| machine.kubernetes)
        {
            next.enter(Stage::WaitingNode, now, "waiting for the Node to register");
            next.deadline = now.checked_add(limits.node).ok();
        } else {
            let message = format!("the host runs the new image with boot id {}", boot.boot_id);
            next.complete(now, message);
        }
    } else if next.deadline.is_some_and(|deadline| now >= deadline) {
        next.fail(
            now,
            "NoFirstBoot",
            "the image is written and verified, but the installed system did not report; look at its console",
        );
    }
    Vec::new()
}

fn wait_for_node(now: Timestamp, next: &mut TargetState, facts: &Facts) -> Vec<Action> {
    let written = next.image_written_at.unwrap_or(next.stage_since);
    let boot_id = facts.boot.as_ref().map(|boot| boot.boot_id.as_str());
    let registered = facts
        .node
        .as_ref()
        .filter(|node| node.created_at >= written || Some(node.boot_id.as_str()) == boot_id);
    if let Some(node) = registered {
        next.prove(
            "NodeRegistered",
            node.created_at,
            format!("boot id {}", node.boot_id),
        );
        next.complete(now, "the Node has registered");
    } else if next.deadline.is_some_and(|deadline| now >= deadline) {
        next.fail(
            now,
            "NodeNotRegistered",
            "the host runs, but its Node did not register; look at the agent's log on the host",
        );
    }
    Vec::new()
}
