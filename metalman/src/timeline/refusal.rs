//! Notices a boot loader that was fetched and never ran. Pure: events and the time in, diagnoses out.
//!
//! Firmware and shim say nothing over the network when they refuse a signature; they just stop
//! asking. A loader that runs asks for more within moments: shim for its revocations, GRUB for its
//! lists. Invariant: any request that only a running loader makes clears the suspicion.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use netboot::dhcp::arch::BootClient;
use netboot::event::{BootEvent, BootEventKind};
use serde_json::json;

use super::words;
use crate::store::{EvidenceKind, NewEvidence, NewTimelineEntry, Observed, TimelineSource};

/// How long a fetched loader may be silent. With a slow TPM, GRUB takes seconds to begin.
const SILENCE: SignedDuration = SignedDuration::from_secs(30);

/// What was fetched, per machine.
#[derive(Debug, Default)]
pub(super) struct Watch {
    machines: BTreeMap<String, Chain>,
}

/// How far the boot of one machine came.
#[derive(Debug, Default)]
struct Chain {
    /// The file that DHCP named.
    first: Option<String>,
    /// The loader before the suspect: who was to start it.
    running: Option<String>,
    suspect: Option<Suspect>,
}

#[derive(Debug)]
struct Suspect {
    file: String,
    since: Timestamp,
}

/// Why we believe that a loader did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// The firmware began again.
    AskedAgain,
    /// Nothing was asked for [`SILENCE`].
    Silence,
}

impl Watch {
    /// Learns from an event; adds a diagnosis to `observed` when the event shows that a loader did
    /// not run.
    pub(super) fn push(&mut self, event: &BootEvent, observed: &mut Observed) {
        let Some(machine) = &event.machine else {
            return;
        };
        match &event.kind {
            BootEventKind::DhcpDiscover { vendor_class, .. } => {
                let client = BootClient::from_vendor_class(vendor_class.as_deref());
                let Some(mut chain) = self.machines.remove(machine) else {
                    return;
                };
                // An operating system, or GRUB, asks in its own name: something was started.
                if client != BootClient::Other
                    && let Some(suspect) = chain.suspect.take()
                {
                    tell(
                        machine,
                        &chain,
                        &suspect,
                        Sign::AskedAgain,
                        event.at,
                        observed,
                    );
                }
            }
            BootEventKind::DhcpOffer {
                boot_file: Some(file),
                ..
            }
            | BootEventKind::DhcpAck {
                boot_file: Some(file),
                ..
            }
            | BootEventKind::ProxyAnswer {
                boot_file: file, ..
            } => {
                self.chain(machine).first = Some(name_of(file).to_owned());
            }
            BootEventKind::TftpDone { file, .. } => self.fetched(machine, file, event.at),
            BootEventKind::HttpDone {
                file,
                status: 200,
                bytes,
                expected,
                ..
            } if *bytes > 0 && bytes >= expected => self.fetched(machine, file, event.at),
            // HEAD before GET.
            BootEventKind::HttpDone { status: 200, .. } => {}
            BootEventKind::TftpFailed { file, .. } | BootEventKind::HttpDone { file, .. } => {
                self.asked(machine, file);
            }
            BootEventKind::Rendered { .. } | BootEventKind::RenderFailed { .. } => {
                self.machines.remove(machine);
            }
            // It is told when the client has been silent for long: what runs by now is not known.
            BootEventKind::TftpUnacknowledged { .. }
            | BootEventKind::ImageProgress { .. }
            | BootEventKind::ImageReady { .. }
            | BootEventKind::ImageFailed { .. }
            | BootEventKind::DhcpOffer { .. }
            | BootEventKind::DhcpAck { .. }
            | BootEventKind::DhcpRequest { .. }
            | BootEventKind::DhcpNak { .. }
            | BootEventKind::DhcpDecline { .. }
            | BootEventKind::DhcpRelease { .. }
            | BootEventKind::DhcpInform { .. }
            | BootEventKind::UnknownMac { .. }
            | BootEventKind::AddressDisputed { .. }
            | BootEventKind::ProxySilence { .. }
            | BootEventKind::SiteLease { .. }
            | BootEventKind::ForeignServer { .. } => {}
        }
    }

    /// Drops the suspicion against a machine whose silence has another reason.
    pub(super) fn acquit(&mut self, machine: &str) {
        self.machines.remove(machine);
    }

    /// Diagnoses loaders that have been silent for too long at `now`.
    pub(super) fn settle(&mut self, now: Timestamp, observed: &mut Observed) {
        for (machine, chain) in &mut self.machines {
            let is_silent = |suspect: &mut Suspect| now.duration_since(suspect.since) >= SILENCE;
            if let Some(suspect) = chain.suspect.take_if(is_silent) {
                tell(machine, chain, &suspect, Sign::Silence, now, observed);
            }
        }
        self.machines.retain(|_, chain| {
            // Without a suspect it is not worth more than its name.
            chain.suspect.is_some() || chain.first.is_some()
        });
    }

    fn chain(&mut self, machine: &str) -> &mut Chain {
        self.machines.entry(machine.to_owned()).or_default()
    }

    /// A whole file went to the machine.
    fn fetched(&mut self, machine: &str, path: &str, at: Timestamp) {
        let file = name_of(path);
        if !is_loader(file) {
            self.asked(machine, path);
            return;
        }
        let chain = self.chain(machine);
        if let Some(suspect) = chain.suspect.take()
            && suspect.file != file
        {
            chain.running = Some(suspect.file);
        }
        chain.suspect = Some(Suspect {
            file: file.to_owned(),
            since: at,
        });
    }

    /// Something else was asked for: whatever was fetched last, runs.
    fn asked(&mut self, machine: &str, path: &str) {
        let Some(chain) = self.machines.get_mut(machine) else {
            return;
        };
        let file = name_of(path);
        if let Some(suspect) = chain.suspect.take_if(|suspect| suspect.file != file) {
            chain.running = Some(suspect.file);
        }
    }
}

/// The last part of a path or URL.
fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether this is a program for firmware, and not the data that shim asks for.
pub(super) fn is_loader(path: &str) -> bool {
    let file = name_of(path);
    let extension = file.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("efi"))
        && !file.starts_with("revocations")
        && !file.starts_with("shim_certificate")
}

fn tell(
    machine: &str,
    chain: &Chain,
    suspect: &Suspect,
    sign: Sign,
    at: Timestamp,
    observed: &mut Observed,
) {
    let file = words::clean(&suspect.file);
    let is_first = chain.running.is_none() || chain.first.as_deref() == Some(&suspect.file);
    let by = match &chain.running {
        Some(loader) if !is_first => words::clean(loader),
        Some(_) | None => "firmware".to_owned(),
    };
    let then = match sign {
        Sign::AskedAgain => "it asked for an address again".to_owned(),
        Sign::Silence => format!("nothing asked for {} s", SILENCE.as_secs()),
    };
    let check = if is_first {
        "its signer must be in db, its hash not in dbx"
    } else {
        "its signer must be in db, MokList or shim, its SBAT level not revoked"
    };
    let text = format!(
        "{by} fetched {file} but did not start it ({then}): signature refused by Secure Boot? {check}"
    );
    let detail = json!({
        "kind": "loaderRefused",
        "file": file,
        "by": by,
        "sign": match sign {
            Sign::AskedAgain => "askedAgain",
            Sign::Silence => "silence",
        },
        "message": text,
    });
    observed.timeline.push(NewTimelineEntry {
        machine: machine.to_owned(),
        at,
        source: TimelineSource::Grub,
        text,
        detail: detail.clone(),
        operation: None,
    });
    observed.evidence.push(NewEvidence {
        machine: machine.to_owned(),
        at,
        kind: EvidenceKind::LoaderRefused,
        detail,
    });
}

#[cfg(test)]
mod tests;
