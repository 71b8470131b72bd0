//! Tells GRUB's many small files as one line. Pure: events in, observations out.
//!
//! GRUB fetches a dozen modules and lists before it reads its configuration; one by one they hide
//! what matters. Invariant: nothing but files of that kind is held back, and those are told before
//! the machine's next event.

use std::collections::BTreeMap;

use jiff::Timestamp;
use netboot::event::{BootEvent, BootEventKind};
use serde_json::json;

use super::describe::{is_grub_part, observed_of};
use super::words;
use crate::store::{NewTimelineEntry, Observed, TimelineSource};

/// Files held back, per machine.
#[derive(Debug, Default)]
pub(super) struct Collapser {
    parts: BTreeMap<String, Parts>,
}

#[derive(Debug)]
struct Parts {
    files: u64,
    bytes: u64,
    duration_ms: u64,
    last: Timestamp,
    /// Whether more came since the last look.
    fresh: bool,
}

impl Collapser {
    /// Adds what an event means to `observed`, or holds it back.
    pub(super) fn push(&mut self, event: &BootEvent, observed: &mut Observed) {
        if let (Some(machine), Some((bytes, duration_ms))) = (&event.machine, grub_part(event)) {
            let parts = self.parts.entry(machine.clone()).or_insert(Parts {
                files: 0,
                bytes: 0,
                duration_ms: 0,
                last: event.at,
                fresh: true,
            });
            parts.files += 1;
            parts.bytes = parts.bytes.saturating_add(bytes);
            parts.duration_ms = parts.duration_ms.saturating_add(duration_ms);
            parts.last = event.at;
            parts.fresh = true;
            return;
        }
        let seen = observed_of(event);
        let held = if seen.timeline.is_empty() {
            None
        } else {
            event.machine.as_ref()
        };
        if let Some((machine, parts)) = held.and_then(|machine| self.parts.remove_entry(machine)) {
            observed.timeline.push(told(machine, &parts));
        }
        observed.timeline.extend(seen.timeline);
        observed.evidence.extend(seen.evidence);
        observed.leases.extend(seen.leases);
        observed.unknown_macs.extend(seen.unknown_macs);
    }

    /// Tells what has not grown since the last call: GRUB stopped fetching.
    pub(super) fn settle(&mut self, observed: &mut Observed) {
        let settled = self
            .parts
            .extract_if(.., |_, parts| !std::mem::take(&mut parts.fresh));
        observed
            .timeline
            .extend(settled.map(|(machine, parts)| told(machine, &parts)));
    }

    /// Tells all that is held back.
    pub(super) fn finish(&mut self, observed: &mut Observed) {
        let all = std::mem::take(&mut self.parts);
        observed.timeline.extend(
            all.into_iter()
                .map(|(machine, parts)| told(machine, &parts)),
        );
    }
}

/// Bytes and milliseconds of a GRUB part that was delivered by TFTP.
fn grub_part(event: &BootEvent) -> Option<(u64, u64)> {
    if let BootEventKind::TftpDone {
        file,
        bytes,
        duration_ms,
        retransmits: 0,
        ..
    } = &event.kind
        && is_grub_part(file)
    {
        Some((*bytes, *duration_ms))
    } else {
        None
    }
}

fn told(machine: String, parts: &Parts) -> NewTimelineEntry {
    let files = if parts.files == 1 { "file" } else { "files" };
    let transfer = words::transfer(parts.bytes, parts.duration_ms);
    NewTimelineEntry {
        machine,
        at: parts.last,
        source: TimelineSource::Tftp,
        text: format!("TFTP {} GRUB {files} {transfer}", parts.files),
        detail: json!({
            "kind": "grubParts",
            "files": parts.files,
            "bytes": parts.bytes,
            "durationMs": parts.duration_ms,
        }),
        operation: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tftp(machine: &str, file: &str) -> BootEvent {
        BootEvent {
            machine: Some(machine.into()),
            mac: None,
            ip: None,
            at: Timestamp::UNIX_EPOCH,
            kind: BootEventKind::TftpDone {
                file: file.into(),
                bytes: 2000,
                duration_ms: 4,
                blksize: 1024,
                windowsize: 1,
                retransmits: 0,
            },
        }
    }

    fn texts(observed: &Observed) -> Vec<&str> {
        observed
            .timeline
            .iter()
            .map(|line| line.text.as_str())
            .collect()
    }

    #[test]
    fn modules_become_one_line_before_the_next_event_of_their_machine() {
        let (mut collapser, mut seen) = (Collapser::default(), Observed::default());
        for file in ["/grub/x86_64-efi/fs.lst", "/grub/x86_64-efi/http.mod"] {
            collapser.push(&tftp("node-1", file), &mut seen);
        }
        assert!(seen.is_empty(), "held back");
        collapser.push(&tftp("node-2", "vmlinuz"), &mut seen);
        collapser.push(&tftp("node-1", "vmlinuz"), &mut seen);
        assert_eq!(
            texts(&seen),
            [
                "TFTP vmlinuz 2.0 kB in 4 ms (blksize 1024, window 1)",
                "TFTP 2 GRUB files 4.0 kB in 8 ms",
                "TFTP vmlinuz 2.0 kB in 4 ms (blksize 1024, window 1)",
            ]
        );
    }

    #[test]
    fn what_stopped_growing_is_told() {
        let (mut collapser, mut seen) = (Collapser::default(), Observed::default());
        collapser.push(&tftp("node-1", "a.mod"), &mut seen);
        collapser.settle(&mut seen);
        assert!(seen.is_empty(), "it may still grow");
        collapser.settle(&mut seen);
        assert_eq!(texts(&seen), ["TFTP 1 GRUB file 2.0 kB in 4 ms"]);
        collapser.push(&tftp("node-1", "b.mod"), &mut seen);
        collapser.finish(&mut seen);
        assert_eq!(seen.timeline.len(), 2);
    }
}
