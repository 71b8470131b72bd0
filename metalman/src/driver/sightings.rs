//! From evidence rows of the store to sightings of the engine. Pure.

use serde_json::Value;

use crate::{
    domain::facts::{Sighting, SightingKind},
    store::{Evidence, EvidenceKind},
};

/// The sighting in a row; rows that prove nothing about an installation are left out.
pub(super) fn sighting(row: &Evidence) -> Option<Sighting> {
    let text = |pointer: &str| row.detail.pointer(pointer).and_then(Value::as_str);
    let (kind, detail) = match row.kind {
        EvidenceKind::DhcpDiscover | EvidenceKind::DhcpAck => (
            SightingKind::Dhcp,
            "the machine got an address and looks for its boot file".into(),
        ),
        EvidenceKind::BootFileServed => {
            let file = text("/file").unwrap_or("a boot file");
            (
                SightingKind::BootFile,
                format!("the machine fetched {file}"),
            )
        }
        EvidenceKind::LoaderRefused => (
            SightingKind::LoaderRefused,
            text("/message")
                .unwrap_or("a boot loader was fetched and did not start")
                .to_owned(),
        ),
        EvidenceKind::GrubDecision => match text("/decision") {
            Some("install") => (
                SightingKind::GrubInstall,
                "GRUB was told to install; waiting for the installer to check in".into(),
            ),
            _ => (
                SightingKind::GrubLocalDisk,
                "GRUB was told to start the local disk".into(),
            ),
        },
        EvidenceKind::InstallClaimed => {
            (SightingKind::Claimed, "the installer checked in".to_owned())
        }
        EvidenceKind::InstallProgress => progress(&row.detail),
        EvidenceKind::ImageWritten => (
            SightingKind::Written(text("/writtenSha256").unwrap_or_default().to_owned()),
            "image written and verified".into(),
        ),
        EvidenceKind::InstallFailed => (
            SightingKind::InstallFailed(text("/failure/reason").unwrap_or("Unknown").to_owned()),
            text("/failure/message")
                .or(text("/message"))
                .unwrap_or("no message")
                .to_owned(),
        ),
        EvidenceKind::FirstBoot | EvidenceKind::CloudInit | EvidenceKind::PowerState => {
            return None;
        }
    };
    Some(Sighting {
        kind,
        at: row.at,
        detail,
    })
}

fn progress(detail: &Value) -> (SightingKind, String) {
    let stage = detail
        .get("stage")
        .and_then(Value::as_str)
        .unwrap_or("working");
    let percent = detail
        .get("percent")
        .and_then(Value::as_u64)
        .and_then(|percent| u8::try_from(percent.min(100)).ok());
    let message = detail
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let doing = match stage {
        "Starting" => "installer starts",
        "ChoosingDisk" => "choosing the disk",
        "Discarding" => "discarding old content",
        "Writing" => "writing the image",
        "Verifying" => "verifying the disk",
        "Seeding" => "writing seed and agent",
        "BootEntry" => "writing the boot entry",
        _ => "installing",
    };
    let mut text = doing.to_owned();
    if let Some(percent) = percent {
        text = format!("{text} {percent} %");
    }
    if !message.is_empty() {
        text = format!("{text}: {message}");
    }
    let writing = if stage == "Writing" { percent } else { None };
    (SightingKind::Progress(writing), text)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn row(kind: EvidenceKind, detail: Value) -> Evidence {
        Evidence {
            id: 1,
            machine: "n1".into(),
            at: Timestamp::UNIX_EPOCH,
            kind,
            detail,
        }
    }

    #[test]
    fn progress_carries_percent_only_while_writing() {
        let writing = json!({"stage": "Writing", "percent": 40});
        let seen = sighting(&row(EvidenceKind::InstallProgress, writing)).unwrap();
        assert_eq!(seen.kind, SightingKind::Progress(Some(40)));
        assert_eq!(seen.detail, "writing the image 40 %");
        let verifying = json!({"stage": "Verifying", "percent": 10, "message": "vda"});
        let seen = sighting(&row(EvidenceKind::InstallProgress, verifying)).unwrap();
        assert_eq!(seen.kind, SightingKind::Progress(None));
        assert_eq!(seen.detail, "verifying the disk 10 %: vda");
    }

    #[test]
    fn failures_and_results_keep_their_facts() {
        let failed = json!({"failure": {"reason": "NoSuitableDisk", "message": "none"}});
        let seen = sighting(&row(EvidenceKind::InstallFailed, failed)).unwrap();
        assert_eq!(
            seen.kind,
            SightingKind::InstallFailed("NoSuitableDisk".into())
        );
        assert_eq!(seen.detail, "none");
        let written = json!({"writtenSha256": "ab"});
        let seen = sighting(&row(EvidenceKind::ImageWritten, written)).unwrap();
        assert_eq!(seen.kind, SightingKind::Written("ab".into()));
    }
}
