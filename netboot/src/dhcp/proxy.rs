//! Beside another DHCP server: that one gives addresses, we add what to boot (the ProxyDHCP of the
//! PXE 2.1 specification, sections 2.2.3 and 2.4).
//!
//! Not a second DHCP server: no reply of this file carries an address, a lease time or a route.
//! Invariant: only firmware of our machines that looks for a boot file is answered.
//!
//! What this cannot do: GRUB reads only the answer of the server that gave the address. Unless that
//! names us as next server (`siaddr`), GRUB asks it, not us, for its files.

use std::net::SocketAddrV4;

use super::{
    arch::BootClient,
    boot_file,
    decide::{Arrival, Decision, Reply, Server, Step, given, silence},
    relay::{Delivery, destination},
    reply::{self, ReplyKind},
    request::{BootRequest, RequestKind},
};
use crate::{directory::BootDirectory, event::BootEventKind};

/// A request seen on the port of the site's server.
pub(super) fn on_server_port(step: &Step<'_>, directory: &dyn BootDirectory) -> Decision {
    match step.request.kind {
        RequestKind::Discover if wants_boot(step.request) => {
            if step.machine.is_none() {
                return step.not_ours(directory);
            }
            let to = destination(step.request, step.arrival.peer, Delivery::Lease);
            offer(step, ReplyKind::Offer, to)
        }
        RequestKind::Request => chosen(step),
        RequestKind::Discover
        | RequestKind::Decline
        | RequestKind::Release
        | RequestKind::Inform => silence("not_asked", Vec::new()),
    }
}

/// A request on port 4011, where firmware asks again for its file once it has an address.
pub fn decide_on_proxy_port(
    arrival: Arrival,
    server: &Server,
    directory: &dyn BootDirectory,
    request: &BootRequest,
) -> Decision {
    let machine = directory.by_mac(request.mac);
    let step = Step::new(arrival, server, request, machine.as_deref());
    match request.kind {
        // The answer goes back to where the question came from, as to any client of a port.
        RequestKind::Request | RequestKind::Inform if wants_boot(request) => {
            offer(&step, ReplyKind::Ack, arrival.peer)
        }
        RequestKind::Discover
        | RequestKind::Request
        | RequestKind::Inform
        | RequestKind::Decline
        | RequestKind::Release => silence("not_asked", Vec::new()),
    }
}

fn wants_boot(request: &BootRequest) -> bool {
    let client = BootClient::from_vendor_class(request.vendor_class.as_deref());
    client.protocol().is_some()
}

/// The boot file, or silence: without one the site's server is left alone with the client.
fn offer(step: &Step<'_>, kind: ReplyKind, to: SocketAddrV4) -> Decision {
    let Some((machine, _)) = step.owned() else {
        return silence("unknown_mac", Vec::new());
    };
    let mut events = match kind {
        ReplyKind::Offer => step.note(step.discovered()),
        ReplyKind::Ack | ReplyKind::Nak => Vec::new(),
    };
    match boot_file::choose(&step.server.serve_url, machine, step.request) {
        Ok(file) => {
            let bytes = reply::boot_only(kind, step.server.address, step.request, &file);
            events.extend(step.note(BootEventKind::ProxyAnswer {
                boot_file: file.name,
                server: step.server.address,
            }));
            Decision {
                reply: Some(Reply { bytes, to }),
                events,
                outcome: kind.label(),
            }
        }
        Err(no_boot_file) => {
            events.extend(step.note(BootEventKind::ProxySilence { no_boot_file }));
            silence("no_boot_file", events)
        }
    }
}

/// The client takes an address from the site's server: worth knowing, since files are served to the
/// reserved address only.
fn chosen(step: &Step<'_>) -> Decision {
    let (Some(server), Some(address)) = (
        step.other_server(),
        step.request
            .requested_address
            .or_else(|| given(step.request.ciaddr)),
    ) else {
        return silence("not_asked", Vec::new());
    };
    if step.server.is_foreign(server) {
        return step.addressed_to(server);
    }
    let Some((_, reservation)) = step.owned() else {
        return silence("known_server", Vec::new());
    };
    let kind = BootEventKind::SiteLease {
        server,
        address,
        reserved: reservation.ipv4,
    };
    silence("known_server", step.note(kind))
}

#[cfg(test)]
mod tests;
