//! What to answer, if anything: the whole of DHCP's rules, without a socket or a clock.
//!
//! Not a lease database: a machine has the addresses its object reserves, for ever. Invariant: no
//! client is ever given, or confirmed in, an address that is not reserved for its MAC, and only
//! machines we own are answered.

use std::net::{Ipv4Addr, SocketAddrV4};

use jiff::Timestamp;

use super::{
    boot_file, proxy,
    relay::{Delivery, destination},
    reply::{self, Grant, ReplyKind},
    request::{BootRequest, RequestKind},
};
use crate::{
    directory::{BootDirectory, BootMachine, Reservation},
    event::{BootEvent, BootEventKind, ForeignMessage, Via},
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
    /// Option 42, in order of preference.
    pub ntp: Vec<Ipv4Addr>,
    /// Whether addresses come from us.
    pub role: Role,
    /// Other DHCP servers that are meant to be on our segment.
    pub known_servers: Vec<Ipv4Addr>,
}

/// Who gives addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We do.
    Authority,
    /// Another server of the site does; we add the boot file (ProxyDHCP of the PXE specification).
    Proxy,
}

impl Server {
    /// Whether a message by or to `server` should alarm somebody. Beside a site's server of which
    /// nothing is known, any may be the right one.
    pub(crate) fn is_foreign(&self, server: Ipv4Addr) -> bool {
        let any = self.role == Role::Proxy && self.known_servers.is_empty();
        server != self.address && !any && !self.known_servers.contains(&server)
    }
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

/// How a request reached us.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The process's clock, read once.
    pub now: Timestamp,
    /// Who sent the datagram.
    pub peer: SocketAddrV4,
    /// Whether events are wanted; at a flood they are not, and need not be made.
    pub tell: bool,
}

/// Decides about one request on the server port; total and without side effects.
pub fn decide(
    arrival: Arrival,
    server: &Server,
    directory: &dyn BootDirectory,
    request: &BootRequest,
) -> Decision {
    let machine = directory.by_mac(request.mac);
    let step = Step::new(arrival, server, request, machine.as_deref());
    if server.role == Role::Proxy {
        return proxy::on_server_port(&step, directory);
    }
    if request.kind != RequestKind::Discover
        && let Some(other) = step.other_server()
    {
        return step.addressed_to(other);
    }
    let Some((machine, reservation)) = step.owned() else {
        return step.not_ours(directory);
    };
    match request.kind {
        RequestKind::Discover => step.discover(machine, reservation),
        RequestKind::Request => step.request(machine, reservation),
        RequestKind::Inform => step.inform(machine, reservation),
        RequestKind::Decline => {
            let address = request.requested_address;
            silence(
                "declined",
                step.note(BootEventKind::DhcpDecline { address }),
            )
        }
        RequestKind::Release => {
            let address = given(request.ciaddr);
            silence(
                "released",
                step.note(BootEventKind::DhcpRelease { address }),
            )
        }
    }
}

/// The parts every answer needs.
pub(super) struct Step<'a> {
    pub(super) arrival: Arrival,
    pub(super) server: &'a Server,
    pub(super) request: &'a BootRequest,
    pub(super) machine: Option<&'a BootMachine>,
}

impl<'a> Step<'a> {
    pub(super) const fn new(
        arrival: Arrival,
        server: &'a Server,
        request: &'a BootRequest,
        machine: Option<&'a BootMachine>,
    ) -> Self {
        Self {
            arrival,
            server,
            request,
            machine,
        }
    }

    /// The server the request is for, when that is not us.
    pub(super) fn other_server(&self) -> Option<Ipv4Addr> {
        let named = self.request.server_identifier?;
        let ours = named == self.server.address || Some(named) == self.request.server_override();
        (!ours).then_some(named)
    }

    /// RFC 2131 section 4.3.2: a request to another server means no more than that.
    pub(super) fn addressed_to(&self, other: Ipv4Addr) -> Decision {
        if !self.server.is_foreign(other) {
            return silence("known_server", Vec::new());
        }
        let kind = BootEventKind::ForeignServer {
            server: other,
            sent: ForeignMessage::Request,
            address: self.request.requested_address,
        };
        silence("foreign_server", self.note(kind))
    }

    /// The machine and the reservation of the asking NIC that fits the link it asks on.
    pub(super) fn owned(&self) -> Option<(&'a BootMachine, &'a Reservation)> {
        let machine = self.machine?;
        let link = self.request.relayed_link().unwrap_or(self.server.address);
        Some((machine, machine.reservation(self.request.mac, link)?))
    }

    pub(super) fn not_ours(&self, directory: &dyn BootDirectory) -> Decision {
        if let Some(conflict) = directory.withheld(self.request.mac) {
            let told = |name: &String| BootEvent {
                machine: Some(name.clone()),
                ..self.event(BootEventKind::AddressDisputed {
                    disputed: conflict.value.to_string(),
                    machines: conflict.machines.clone(),
                })
            };
            let events = conflict.machines.iter().filter(|_| self.arrival.tell);
            return silence("disputed", events.map(told).collect());
        }
        let kind = BootEventKind::UnknownMac {
            vendor_class: self.request.vendor_class.clone(),
            arch: self.request.arch(),
            via: self.via(),
        };
        silence("unknown_mac", self.note(kind))
    }

    fn discover(&self, machine: &BootMachine, reservation: &Reservation) -> Decision {
        self.lease(ReplyKind::Offer, machine, reservation, || self.discovered())
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
        let seen = || BootEventKind::DhcpRequest {
            requested: Some(asked),
            arch: self.request.arch(),
            vendor_class: self.request.vendor_class.clone(),
        };
        if asked == reservation.ipv4 {
            return self.lease(ReplyKind::Ack, machine, reservation, seen);
        }
        let reason = format!("{asked} is not reserved for {}", self.request.mac);
        let bytes = reply::nak(self.server.address, self.request, &reason);
        let mut events = self.note(seen());
        events.extend(self.note(BootEventKind::DhcpNak { reason }));
        self.answer(ReplyKind::Nak, Delivery::Nak, bytes, events)
    }

    fn inform(&self, machine: &BootMachine, reservation: &Reservation) -> Decision {
        let Some(address) = given(self.request.ciaddr) else {
            return silence("no_address", Vec::new());
        };
        let events = self.note(BootEventKind::DhcpInform {
            address: Some(address),
        });
        let (bytes, _boot) = self.grant(ReplyKind::Ack, machine, reservation, None);
        self.answer(ReplyKind::Ack, Delivery::Inform, bytes, events)
    }

    fn lease(
        &self,
        kind: ReplyKind,
        machine: &BootMachine,
        reservation: &Reservation,
        seen: impl FnOnce() -> BootEventKind,
    ) -> Decision {
        let lease = Some(self.server.lease_seconds);
        let (bytes, boot) = self.grant(kind, machine, reservation, lease);
        let mut events = Vec::new();
        if self.arrival.tell {
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
            events = vec![self.event(seen()), self.event_at(said, Some(address))];
        }
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
            ntp: &self.server.ntp,
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
        let to = destination(self.request, self.arrival.peer, delivery);
        Decision {
            reply: Some(Reply { bytes, to }),
            events,
            outcome: kind.label(),
        }
    }

    pub(super) fn discovered(&self) -> BootEventKind {
        BootEventKind::DhcpDiscover {
            arch: self.request.arch(),
            vendor_class: self.request.vendor_class.clone(),
            uuid: self.request.uuid_text(),
            via: self.via(),
        }
    }

    fn via(&self) -> Via {
        let agent = self.request.relay_agent.as_ref();
        Via {
            relay: given(self.request.giaddr),
            circuit_id: agent.and_then(super::agent::RelayAgent::circuit_id),
            remote_id: agent.and_then(super::agent::RelayAgent::remote_id),
        }
    }

    /// One event, when events are wanted.
    pub(super) fn note(&self, kind: BootEventKind) -> Vec<BootEvent> {
        if self.arrival.tell {
            vec![self.event(kind)]
        } else {
            Vec::new()
        }
    }

    pub(super) fn event(&self, kind: BootEventKind) -> BootEvent {
        self.event_at(kind, given(self.request.ciaddr))
    }

    fn event_at(&self, kind: BootEventKind, ip: Option<Ipv4Addr>) -> BootEvent {
        let machine = self.machine.map(|machine| machine.name.clone());
        BootEvent {
            machine,
            mac: Some(self.request.mac),
            ip,
            at: self.arrival.now,
            kind,
        }
    }
}

pub(super) fn silence(outcome: &'static str, events: Vec<BootEvent>) -> Decision {
    Decision {
        reply: None,
        events,
        outcome,
    }
}

pub(super) fn given(address: Ipv4Addr) -> Option<Ipv4Addr> {
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
