//! What to answer, if anything: the whole of DHCP's rules, without a socket or a clock.
//!
//! Not a lease database: a machine has the addresses its object reserves, for ever. Invariant: no
//! client is ever given, or confirmed in, an address that is not reserved for its MAC, and only
//! machines we own are answered.

use std::net::{Ipv4Addr, SocketAddrV4};

use jiff::Timestamp;

use super::{
    boot_file,
    relay::{Delivery, destination},
    reply::{self, Grant, ReplyKind},
    request::{BootRequest, RequestKind},
};
use crate::{
    directory::{BootDirectory, BootMachine, Reservation},
    event::{BootEvent, BootEventKind},
};

/// What this server says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Option 54, `siaddr` and option 66.
    pub address: Ipv4Addr,
    /// `http://host:port` of the boot files, for HTTP boot.
    pub serve_url: String,
    /// Option 51, in seconds.
    pub lease_seconds: u32,
    /// Option 15.
    pub domain: Option<String>,
}

/// The outcome for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What to send, and where; `None` is silence.
    pub reply: Option<Reply>,
    /// What to record once the reply is sent.
    pub events: Vec<BootEvent>,
    /// Bounded label for metrics: the kind of reply, or why there is none.
    pub outcome: &'static str,
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The DHCP message.
    pub bytes: Vec<u8>,
    /// Where it goes.
    pub to: SocketAddrV4,
}

/// Decides about one request; total and without side effects.
pub fn decide(
    now: Timestamp,
    server: &Server,
    directory: &dyn BootDirectory,
    request: &BootRequest,
) -> Decision {
    let machine = directory.by_mac(request.mac);
    let step = Step {
        now,
        server,
        request,
        machine: machine.as_deref(),
    };
    let foreign = request.server_identifier.filter(|id| *id != server.address);
    if let (Some(foreign), false) = (foreign, request.kind == RequestKind::Discover) {
        let event = step.event(BootEventKind::ForeignServer { server: foreign });
        return silence("foreign_server", vec![event]);
    }
    let link = if request.is_relayed() {
        request.giaddr
    } else {
        server.address
    };
    let owned = machine
        .as_ref()
        .and_then(|m| Some((m, m.reservation(request.mac, link)?)));
    let Some((machine, reservation)) = owned else {
        let kind = BootEventKind::UnknownMac {
            vendor_class: request.vendor_class.clone(),
            arch: request.arch(),
        };
        return silence("unknown_mac", vec![step.event(kind)]);
    };
    match request.kind {
        RequestKind::Discover => step.discover(machine, reservation),
        RequestKind::Request => step.request(machine, reservation),
        RequestKind::Inform => step.inform(machine, reservation),
        RequestKind::Decline => {
            let address = request.requested_address;
            silence(
                "declined",
                vec![step.event(BootEventKind::DhcpDecline { address })],
            )
        }
        RequestKind::Release => {
            let address = given(request.ciaddr);
            silence(
                "released",
                vec![step.event(BootEventKind::DhcpRelease { address })],
            )
        }
    }
}

/// The parts every answer needs.
struct Step<'a> {
    now: Timestamp,
    server: &'a Server,
    request: &'a BootRequest,
    machine: Option<&'a BootMachine>,
}

impl Step<'_> {
    fn discover(&self, machine: &BootMachine, reservation: &Reservation) -> Decision {
        let seen = self.event(BootEventKind::DhcpDiscover {
            arch: self.request.arch(),
            vendor_class: self.request.vendor_class.clone(),
        });
        self.lease(ReplyKind::Offer, seen, machine, reservation)
    }

    /// RFC 2131 section 4.3.2: selecting, init-reboot, renewing and rebinding all name an address,
    /// and there is only one right one.
    fn request(&self, machine: &BootMachine, reservation: &Reservation) -> Decision {
        let asked = self
            .request
            .requested_address
            .or_else(|| given(self.request.ciaddr));
        let Some(asked) = asked else {
            return silence("no_address", Vec::new());
        };
        let seen = self.event(BootEventKind::DhcpRequest {
            requested: Some(asked),
            arch: self.request.arch(),
            vendor_class: self.request.vendor_class.clone(),
        });
        if asked == reservation.ipv4 {
            return self.lease(ReplyKind::Ack, seen, machine, reservation);
        }
        let reason = format!("{asked} is not reserved for {}", self.request.mac);
        let bytes = reply::nak(self.server.address, self.request, &reason);
        let event = self.event(BootEventKind::DhcpNak { reason });
        self.answer(ReplyKind::Nak, Delivery::Nak, bytes, vec![seen, event])
    }

    fn inform(&self, machine: &BootMachine, reservation: &Reservation) -> Decision {
        let Some(address) = given(self.request.ciaddr) else {
            return silence("no_address", Vec::new());
        };
        let event = self.event(BootEventKind::DhcpInform {
            address: Some(address),
        });
        let (bytes, _boot) = self.grant(ReplyKind::Ack, machine, reservation, None);
        self.answer(ReplyKind::Ack, Delivery::Inform, bytes, vec![event])
    }

    fn lease(
        &self,
        kind: ReplyKind,
        seen: BootEvent,
        machine: &BootMachine,
        reservation: &Reservation,
    ) -> Decision {
        let lease = Some(self.server.lease_seconds);
        let (bytes, boot) = self.grant(kind, machine, reservation, lease);
        let (boot_file, no_boot_file) = match boot {
            Ok(file) => (Some(file.name), None),
            Err(why) => (None, Some(why)),
        };
        let address = reservation.ipv4;
        let said = match kind {
            ReplyKind::Offer => BootEventKind::DhcpOffer {
                address,
                boot_file,
                no_boot_file,
            },
            ReplyKind::Ack | ReplyKind::Nak => BootEventKind::DhcpAck {
                address,
                boot_file,
                no_boot_file,
            },
        };
        let events = vec![seen, self.event_at(said, Some(address))];
        self.answer(kind, Delivery::Lease, bytes, events)
    }

    fn grant(
        &self,
        kind: ReplyKind,
        machine: &BootMachine,
        reservation: &Reservation,
        lease_seconds: Option<u32>,
    ) -> (
        Vec<u8>,
        Result<boot_file::BootFile, super::arch::NoBootFile>,
    ) {
        let boot = boot_file::choose(&self.server.serve_url, machine, self.request);
        let grant = Grant {
            reservation,
            host_name: Some(machine.name.as_str()).filter(|name| is_host_name(name)),
            domain: self.server.domain.as_deref(),
            lease_seconds,
            boot_file: boot.as_ref().ok(),
        };
        (
            reply::grant(kind, self.server.address, self.request, &grant),
            boot,
        )
    }

    fn answer(
        &self,
        kind: ReplyKind,
        delivery: Delivery,
        bytes: Vec<u8>,
        events: Vec<BootEvent>,
    ) -> Decision {
        let to = destination(self.request, delivery);
        Decision {
            reply: Some(Reply { bytes, to }),
            events,
            outcome: kind.label(),
        }
    }

    fn event(&self, kind: BootEventKind) -> BootEvent {
        self.event_at(kind, given(self.request.ciaddr))
    }

    fn event_at(&self, kind: BootEventKind, ip: Option<Ipv4Addr>) -> BootEvent {
        let machine = self.machine.map(|machine| machine.name.clone());
        BootEvent {
            machine,
            mac: Some(self.request.mac),
            ip,
            at: self.now,
            kind,
        }
    }
}

fn silence(outcome: &'static str, events: Vec<BootEvent>) -> Decision {
    Decision {
        reply: None,
        events,
        outcome,
    }
}

fn given(address: Ipv4Addr) -> Option<Ipv4Addr> {
    (!address.is_unspecified()).then_some(address)
}

/// RFC 1123 host name; Machine names that are not are not told to clients.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests;
