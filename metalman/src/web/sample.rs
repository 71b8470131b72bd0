//! A made-up site for tests and for looking at the pages.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use metalman_api::machine::MachinePhase;
use metalman_api::operation::Phase;
use serde_json::json;
use tokio::sync::watch;

use super::view::{
    Card, Fact, MachineFacts, MachineRow, PastOperation, Power, RunningOperation, SiteView,
    ViewError,
};
use crate::store::{TimelineEntry, TimelineSource};

/// The moment at which the sample is looked at: 20 November 2026, 03:07:21 UTC.
pub(super) fn now() -> Timestamp {
    Timestamp::from_second(1_795_144_041).expect("in range")
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

/// The site; `changes` counts what tests say.
pub(super) struct SampleSite {
    pub(super) machines: Vec<MachineRow>,
    pub(super) timeline: Vec<TimelineEntry>,
    /// `None` while the store is away.
    pub(super) cards: Option<Vec<Card>>,
    pub(super) changes: watch::Sender<u64>,
}

impl SampleSite {
    pub(super) fn new() -> Self {
        let idle = |name: &str, power, phase, seen: Option<i64>| MachineRow {
            name: name.into(),
            power,
            phase,
            operation: None,
            last_seen: seen.map(ago),
            problem: None,
        };
        let mut writing = idle("node-1", Power::On, MachinePhase::Provisioning, Some(1));
        writing.operation = Some(RunningOperation {
            name: "replace-node-1".into(),
            kind: "HostReplace".into(),
            stage: "Writing the image".into(),
            percent: Some(42),
            waits_for: Some("the installer to finish".into()),
            deadline: Some(ago(-1260)),
        });
        let mut rebooting = idle(
            "node-3",
            Power::PoweringOn,
            MachinePhase::Rebooting,
            Some(34),
        );
        rebooting.operation = Some(RunningOperation {
            name: "reboot-rack-a-7".into(),
            kind: "HostReboot".into(),
            stage: "Waiting for the host".into(),
            percent: None,
            waits_for: Some("a new boot id from the host".into()),
            deadline: Some(ago(-245)),
        });
        let mut refused = idle(
            "node-10",
            Power::Unknown,
            MachinePhase::Failed,
            Some(86_700),
        );
        refused.problem = Some(
            "BMC 10.77.1.10 refused user admin: correct key password of Secret \
             unbounded-system/bmc-node-10"
                .into(),
        );
        let (changes, _) = watch::channel(7);
        Self {
            machines: vec![
                refused,
                writing,
                idle("node-2", Power::On, MachinePhase::Ready, Some(12)),
                rebooting,
                idle("node-4", Power::Off, MachinePhase::Pending, None),
            ],
            timeline: story(),
            cards: Some(vec![Card {
                mac: "52:54:00:77:00:99".into(),
                first_seen: ago(7200),
                last_seen: ago(12),
                count: 31,
                arch: Some("x86-64 UEFI PXE".into()),
                vendor_class: Some("PXEClient:Arch:00007<script>alert(1)</script>".into()),
                relay: Some("10.1.0.1".into()),
                circuit_id: Some("Eth1/7".into()),
                yaml: "kind: Machine\nmetadata:\n  name: node-770099\n".into(),
            }]),
            changes,
        }
    }
}

#[async_trait]
impl SiteView for SampleSite {
    fn site(&self) -> String {
        "rack-a".into()
    }

    fn machines(&self) -> Vec<MachineRow> {
        self.machines.clone()
    }

    fn machine(&self, name: &str) -> Option<MachineFacts> {
        let row = self.machines.iter().find(|row| row.name == name)?.clone();
        let fact = |label: &str, value: &str| Fact {
            label: label.into(),
            value: value.into(),
        };
        Some(MachineFacts {
            row,
            facts: vec![
                fact("MAC", "52:54:00:77:00:11"),
                fact("Address", "10.77.0.11/24"),
                fact("BMC", "https://10.77.1.1"),
                fact(
                    "Host image",
                    "registry.rack-a.example/host:2026.11 (sha256:3f1c9a0b…)",
                ),
                fact("Netboot image", "oci-layout:/var/lib/metalman/netboot"),
                fact("Boot id", "5b0c9c0e-8a55-4d2f-9d5e-7d1f5a1f6c3e"),
                fact("Kernel", "6.1.0-56-cloud-amd64"),
            ],
            operations: vec![
                PastOperation {
                    name: "reboot-node-1-kx7".into(),
                    kind: "HostReboot".into(),
                    phase: Phase::Complete,
                    message: None,
                    started_at: Some(ago(7900)),
                    ended_at: Some(ago(7830)),
                },
                PastOperation {
                    name: "replace-node-1-first".into(),
                    kind: "HostReplace".into(),
                    phase: Phase::Failed,
                    message: Some(
                        "DiskTooSmall: /dev/vda is 1.1 GB, the image needs 3.2 GB".into(),
                    ),
                    started_at: Some(ago(90_000)),
                    ended_at: Some(ago(89_400)),
                },
            ],
        })
    }

    async fn timeline(
        &self,
        _machine: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<TimelineEntry>, ViewError> {
        let before = before.unwrap_or(i64::MAX);
        let entries = self.timeline.iter().filter(|entry| entry.id < before);
        Ok(entries.take(limit as usize).cloned().collect())
    }

    async fn discovered(&self) -> Result<Vec<Card>, ViewError> {
        let cards = self.cards.clone();
        cards.ok_or_else(|| ViewError("the store is away".into()))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// An install as `node-1` would tell it, newest first.
fn story() -> Vec<TimelineEntry> {
    use TimelineSource::{Bmc, Dhcp, Grub, Host, Http, Installer, Operation, Tftp};
    let told = [
        (1, Installer, "writing the image 42 % (1.3 GB of 3.2 GB)"),
        (29, Installer, "writing the image 25 % (805.3 MB of 3.2 GB)"),
        (
            75,
            Installer,
            "choosing the disk: /dev/vda by-id virtio-rack-a-1",
        ),
        (76, Installer, "installer 0.1.0 checked in with 1 disk"),
        (80, Http, "HTTP initrd 24.8 MB in 1.5 s, 16.5 MB/s"),
        (81, Http, "HTTP vmlinuz 14.2 MB in 0.9 s, 15.8 MB/s"),
        (83, Grub, "GRUB is told to start the installer"),
        (84, Tftp, "TFTP 14 GRUB files 312.6 kB in 0.4 s, 781.5 kB/s"),
        (
            85,
            Tftp,
            "TFTP grubx64.efi 3.8 MB in 0.6 s, 6.4 MB/s (blksize 512, window 4)",
        ),
        (
            86,
            Tftp,
            "TFTP shimx64.efi 1.0 MB in 0.2 s, 5.2 MB/s (blksize 1468, window 4)",
        ),
        (87, Dhcp, "DHCP ACK 10.77.0.11, boot file shimx64.efi"),
        (91, Dhcp, "DHCP OFFER 10.77.0.11, boot file shimx64.efi"),
        (
            91,
            Dhcp,
            "DHCP DISCOVER from 52:54:00:77:00:11 (x86-64 UEFI PXE)",
        ),
        (98, Bmc, "power is On"),
        (99, Bmc, "next boot set to Pxe once, read back"),
        (104, Bmc, "power is Off"),
        (
            110,
            Operation,
            "HostReplace replace-node-1 began: images are at sha256:3f1c9a0b",
        ),
        (
            12_000,
            Host,
            "host is up 21 s after its start: kernel 6.1.0-56-cloud-amd64, agent 0.1.0",
        ),
        (
            12_030,
            Dhcp,
            "DHCP OFFER 10.77.0.11, no boot file: <script>alert(\"wire\")</script>",
        ),
    ];
    let ids = (1..=i64::try_from(told.len()).expect("few")).rev();
    ids.zip(told)
        .map(|(id, (seconds, source, text))| TimelineEntry {
            id,
            machine: "node-1".into(),
            at: ago(seconds) + SignedDuration::from_millis(27 * id),
            source,
            text: text.into(),
            detail: json!({}),
            operation: Some("replace-node-1".into()),
        })
        .collect()
}
