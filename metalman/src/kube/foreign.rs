//! Tells Kubernetes about other DHCP servers on the machines' network: one Event per server and hour.
//!
//! Not the timeline, which marks every machine that met one. Invariant: the packet path never waits
//! for this; what does not fit into the queue is dropped, since the server will speak again.

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Namespace, ObjectReference};
use kube::{Client, Resource as _};
use metalman_api::machine::SYSTEM_NAMESPACE;
use netboot::{
    event::{BootEvent, BootEventKind, ForeignMessage},
    mac::MacAddr,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::events::Events;
use crate::site::Site;

/// Sightings that wait; the DHCP server tells one per minute, server and client.
const QUEUE: usize = 64;
/// How long a server is not told again.
const QUIET: SignedDuration = SignedDuration::from_hours(1);
/// Servers remembered.
const REMEMBERED: usize = 256;

/// One message of or to another server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sighting {
    at: Timestamp,
    server: Ipv4Addr,
    sent: ForeignMessage,
    mac: Option<MacAddr>,
    address: Option<Ipv4Addr>,
    machine: Option<String>,
}

/// The queue's near end; cheap to clone.
#[derive(Debug, Clone)]
pub struct Alarm(mpsc::Sender<Sighting>);

/// The queue's far end.
#[derive(Debug)]
pub struct AlarmTask {
    queue: mpsc::Receiver<Sighting>,
    told: Told,
}

/// When each server was told last.
#[derive(Debug, Default)]
struct Told(HashMap<Ipv4Addr, Timestamp>);

impl Alarm {
    /// Both ends; nothing is told until the task runs.
    pub fn new() -> (Self, AlarmTask) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let told = Told::default();
        (Self(sender), AlarmTask { queue, told })
    }

    /// Passes on what concerns other servers; never waits.
    pub fn hear(&self, event: &BootEvent) {
        if let BootEventKind::ForeignServer {
            server,
            sent,
            address,
        } = event.kind
        {
            let sighting = Sighting {
                at: event.at,
                server,
                sent,
                mac: event.mac,
                address,
                machine: event.machine.clone(),
            };
            self.0.try_send(sighting).ok();
        }
    }
}

impl AlarmTask {
    /// Tells until `stop`.
    ///
    /// # Errors
    /// Never; the type is that of a task.
    pub async fn run(
        mut self,
        client: Client,
        site: Arc<Site>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let events = Events::new(client);
        loop {
            let sighting = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(sighting) = self.queue.recv() => sighting,
                else => return Ok(()),
            };
            if !self.told.is_due(&sighting) {
                continue;
            }
            let machine = sighting.machine.as_deref().and_then(|m| site.machine(m));
            let about = machine.map_or_else(namespace, |machine| machine.object_ref(&()));
            // While the API is away nothing counts as told: the next sighting tries again.
            if events.foreign_server(&about, note(&sighting)).await {
                self.told.remember(&sighting);
            }
        }
    }
}

impl Told {
    fn is_due(&self, sighting: &Sighting) -> bool {
        let last = self.0.get(&sighting.server);
        last.is_none_or(|last| sighting.at.duration_since(*last).abs() >= QUIET)
    }

    fn remember(&mut self, sighting: &Sighting) {
        if self.0.len() >= REMEMBERED {
            let recent = |last: &Timestamp| sighting.at.duration_since(*last).abs() < QUIET;
            self.0.retain(|_, last| recent(last));
        }
        if self.0.len() < REMEMBERED {
            self.0.insert(sighting.server, sighting.at);
        }
    }
}

/// What an Event is about when it concerns no machine of ours.
fn namespace() -> ObjectReference {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(SYSTEM_NAMESPACE.to_owned());
    namespace.object_ref(&())
}

fn note(sighting: &Sighting) -> String {
    let server = sighting.server;
    let client = sighting
        .mac
        .map_or("a client".to_owned(), |m| m.to_string());
    let address = sighting.address;
    let of = address.map(|a| format!(" of {a}")).unwrap_or_default();
    let seen = match sighting.sent {
        ForeignMessage::Request => format!("{client} asked it for its address"),
        sent @ (ForeignMessage::Offer | ForeignMessage::Ack | ForeignMessage::Nak) => {
            format!("it sent {client} an {}{of}", sent.label())
        }
    };
    format!(
        "another DHCP server, {server}, is on the machines' network: {seen}. Machines may boot \
         from it; switch it off, or list it in dhcp.known_servers if it belongs there"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(second: i64, server: [u8; 4], sent: ForeignMessage) -> Sighting {
        Sighting {
            at: Timestamp::from_second(second).unwrap(),
            server: server.into(),
            sent,
            mac: Some(MacAddr::new([0x52, 0x54, 0, 0x77, 0, 0x11])),
            address: Some(Ipv4Addr::new(10, 77, 0, 50)),
            machine: None,
        }
    }

    #[test]
    fn a_server_is_due_once_an_hour_and_memory_is_bounded() {
        let offer = |second, server| sighting(second, server, ForeignMessage::Offer);
        let mut told = Told::default();
        let first = offer(0, [10, 0, 0, 66]);
        assert!(told.is_due(&first));
        told.remember(&first);
        assert!(!told.is_due(&offer(3599, [10, 0, 0, 66])));
        assert!(told.is_due(&offer(3600, [10, 0, 0, 66])));
        assert!(told.is_due(&offer(1, [10, 0, 0, 67])), "another server");
        for n in 0..2000_u32 {
            told.remember(&offer(5, n.to_be_bytes()));
        }
        assert_eq!(told.0.len(), REMEMBERED);
    }

    #[test]
    fn the_note_names_server_client_and_cure() {
        let text = note(&sighting(0, [10, 77, 0, 66], ForeignMessage::Offer));
        assert_eq!(
            text,
            "another DHCP server, 10.77.0.66, is on the machines' network: it sent \
             52:54:00:77:00:11 an OFFER of 10.77.0.50. Machines may boot from it; switch it off, \
             or list it in dhcp.known_servers if it belongs there"
        );
    }
}
