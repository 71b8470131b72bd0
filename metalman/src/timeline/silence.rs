//! Finds out why a machine stopped after GRUB when another server gave it its address.
//!
//! GRUB asks the `siaddr` of the answer that gave the address, whoever named the boot file. Where
//! that is not us, GRUB waits for files elsewhere and we hear nothing. Pure: events in, lines out.
//! Invariant: only machines that we answered by ProxyDHCP are watched, and each boot is told once.

use std::{collections::BTreeMap, net::Ipv4Addr};

use jiff::{SignedDuration, Timestamp};
use netboot::event::{BootEvent, BootEventKind};
use serde_json::json;

use crate::store::{NewTimelineEntry, TimelineSource};

/// How long GRUB may take to ask for its first file. It does at once; firmware may check it first.
const PATIENCE: SignedDuration = SignedDuration::from_secs(20);

/// Machines that boot beside another DHCP server.
#[derive(Debug, Default)]
pub(super) struct Silence {
    proxied: BTreeMap<String, Proxied>,
}

#[derive(Debug)]
struct Proxied {
    /// We, as the machine knows us.
    us: Ipv4Addr,
    /// The server that gives addresses, once it was named.
    site_server: Option<Ipv4Addr>,
    /// When GRUB was fetched, while nothing has come since.
    grub_at: Option<Timestamp>,
}

impl Silence {
    /// Takes in an event, in the order of time.
    pub(super) fn push(&mut self, event: &BootEvent) {
        let Some(machine) = &event.machine else {
            return;
        };
        if let BootEventKind::ProxyAnswer { server, .. } = &event.kind {
            let entry = self.proxied.entry(machine.clone()).or_insert(Proxied {
                us: *server,
                site_server: None,
                grub_at: None,
            });
            entry.us = *server;
            return;
        }
        let Some(entry) = self.proxied.get_mut(machine) else {
            return;
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "no other event says anything about GRUB"
        )]
        match &event.kind {
            BootEventKind::SiteLease { server, .. } => entry.site_server = Some(*server),
            BootEventKind::TftpDone { file, .. } => {
                entry.grub_at = is_grub(file).then_some(event.at);
            }
            BootEventKind::HttpDone {
                file,
                status,
                bytes,
                expected,
                ..
            } => {
                // A HEAD, or a transfer that was cut: there is no GRUB that could be silent.
                let is_whole = *status == 200 && *bytes > 0 && bytes >= expected;
                entry.grub_at = (is_whole && is_grub(file)).then_some(event.at);
            }
            BootEventKind::TftpFailed { .. }
            | BootEventKind::Rendered { .. }
            | BootEventKind::RenderFailed { .. }
            | BootEventKind::DhcpDiscover { .. } => entry.grub_at = None,
            _ => {}
        }
    }

    /// The machines that have been silent for too long.
    pub(super) fn settle(&mut self, now: Timestamp) -> Vec<NewTimelineEntry> {
        let mut told = Vec::new();
        for (machine, entry) in &mut self.proxied {
            let since = entry
                .grub_at
                .filter(|at| now.duration_since(*at) >= PATIENCE);
            if since.is_none() {
                continue;
            }
            entry.grub_at = None;
            let server = entry.site_server;
            let named = server
                .map(|server| format!(" {server}"))
                .unwrap_or_default();
            let us = entry.us;
            told.push(NewTimelineEntry {
                machine: machine.clone(),
                at: now,
                source: TimelineSource::Grub,
                text: format!(
                    "GRUB was fetched and asks here for nothing: it asks the address that the \
                     site's DHCP server{named} gives as next server, which must be {us} (Kea: \
                     next-server, ISC: next-server, dnsmasq: dhcp-boot=FILE,,{us})"
                ),
                detail: json!({ "kind": "loaderSilent", "siteServer": server, "nextServer": us }),
                operation: None,
            });
        }
        told
    }
}

/// Whether this is GRUB itself, such as `grubx64.efi`.
fn is_grub(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with("grub")
        && std::path::Path::new(name)
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("efi"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    const SITE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn event(second: i64, kind: BootEventKind) -> BootEvent {
        BootEvent {
            machine: Some("node-1".into()),
            mac: None,
            ip: None,
            at: at(second),
            kind,
        }
    }

    fn fetched(second: i64, file: &str) -> BootEvent {
        let kind = BootEventKind::TftpDone {
            file: file.into(),
            bytes: 1,
            duration_ms: 1,
            blksize: 512,
            windowsize: 4,
            retransmits: 0,
        };
        event(second, kind)
    }

    fn proxied() -> Silence {
        let mut silence = Silence::default();
        silence.push(&event(
            0,
            BootEventKind::ProxyAnswer {
                boot_file: "shimx64.efi".into(),
                server: US,
            },
        ));
        silence.push(&event(
            1,
            BootEventKind::SiteLease {
                server: SITE,
                address: US,
                reserved: US,
            },
        ));
        silence.push(&fetched(2, "shimx64.efi"));
        silence.push(&fetched(3, "//grubx64.efi"));
        silence
    }

    #[test]
    fn a_grub_that_asks_elsewhere_is_diagnosed_once_with_the_cure() {
        let mut silence = proxied();
        assert!(silence.settle(at(22)).is_empty(), "it may still ask");
        let told = silence.settle(at(23));
        assert_eq!(told.len(), 1);
        assert!(
            told[0]
                .text
                .contains("site's DHCP server 10.77.0.2 gives as next server")
        );
        assert!(told[0].text.contains("must be 10.77.0.1 "));
        assert!(silence.settle(at(60)).is_empty(), "once");
        silence.push(&fetched(100, "grubx64.efi"));
        assert_eq!(silence.settle(at(120)).len(), 1, "the next boot again");
    }

    #[test]
    fn any_sign_of_grub_ends_the_watch() {
        for sign in [
            fetched(4, "/grub/x86_64-efi/fs.lst"),
            event(
                4,
                BootEventKind::TftpFailed {
                    file: "/grub/x86_64-efi/fs.lst".into(),
                    reason: "absent".into(),
                },
            ),
            event(
                4,
                BootEventKind::HttpDone {
                    file: "grub/grub.cfg".into(),
                    bytes: 1,
                    expected: 1,
                    duration_ms: 1,
                    status: 200,
                },
            ),
        ] {
            let mut silence = proxied();
            silence.push(&sign);
            assert!(silence.settle(at(99)).is_empty(), "{sign:?}");
        }
    }

    #[test]
    fn only_a_grub_that_was_sent_whole_can_be_silent() {
        for (bytes, expected, status, told) in [
            (800, 800, 200, 1),
            (799, 800, 200, 0),
            (0, 800, 200, 0),
            (800, 800, 404, 0),
        ] {
            let mut silence = proxied();
            silence.push(&event(
                30,
                BootEventKind::HttpDone {
                    file: "/grubx64.efi".into(),
                    bytes,
                    expected,
                    duration_ms: 1,
                    status,
                },
            ));
            let lines = silence.settle(at(99)).len();
            assert_eq!(lines, told, "{bytes} of {expected}, status {status}");
        }
    }

    #[test]
    fn machines_with_our_addresses_are_not_watched() {
        let mut silence = Silence::default();
        silence.push(&fetched(3, "grubx64.efi"));
        assert!(silence.settle(at(99)).is_empty());
    }
}
