//! Where a reply goes: to the relay, to a configured client, or to everybody on the link.
//!
//! Not the sending. Invariant (RFC 2131 section 4.1): a relayed request is answered to its relay
//! only, and a client without an address is never sent unicast.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{CLIENT_PORT, SERVER_PORT, agent::RelayAgent, request::BootRequest};

/// What kind of reply is to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// OFFER or ACK of a lease.
    Lease,
    /// NAK: the client may not use its address any more.
    Nak,
    /// ACK to INFORM: the client keeps its address.
    Inform,
}

/// The address to send the reply to.
///
/// A client without an address gets a broadcast even when it says it could take unicast: that needs
/// no raw socket and no ARP entry, and every client must accept it.
///
/// A relay that says so (RFC 8357) is answered at the port it sent from.
pub(crate) fn destination(
    request: &BootRequest,
    peer: SocketAddrV4,
    delivery: Delivery,
) -> SocketAddrV4 {
    let agent = request.relay_agent.as_ref();
    let relay_port = if agent.is_some_and(RelayAgent::wants_source_port) {
        peer.port()
    } else {
        SERVER_PORT
    };
    let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
    let configured =
        (!request.ciaddr.is_unspecified()).then(|| SocketAddrV4::new(request.ciaddr, CLIENT_PORT));
    match delivery {
        Delivery::Inform => configured.unwrap_or(everybody),
        Delivery::Lease | Delivery::Nak if request.is_relayed() => {
            SocketAddrV4::new(request.giaddr, relay_port)
        }
        Delivery::Lease if !request.is_broadcast() => configured.unwrap_or(everybody),
        Delivery::Lease | Delivery::Nak => everybody,
    }
}

/// Which relays may speak to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayPolicy {
    /// Requests through any relay are answered.
    Any,
    /// Requests through these relays (giaddr) are answered.
    Only(Vec<Ipv4Addr>),
}

impl RelayPolicy {
    /// Whether a request with this `giaddr` may be answered; 0.0.0.0 is not a relay and passes.
    pub fn admits(&self, giaddr: Ipv4Addr) -> bool {
        match self {
            Self::Any => true,
            Self::Only(relays) => giaddr.is_unspecified() || relays.contains(&giaddr),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::testing::discover;

    #[test]
    fn replies_go_where_the_rfc_says() {
        let relay = Ipv4Addr::new(10, 1, 0, 1);
        let client = Ipv4Addr::new(10, 77, 0, 11);
        let none = Ipv4Addr::UNSPECIFIED;
        let all = "255.255.255.255:68";
        let peer = SocketAddrV4::new(relay, 4067);
        for (giaddr, ciaddr, flags, delivery, want) in [
            (none, none, 0x8000, Delivery::Lease, all),
            (none, none, 0, Delivery::Lease, all),
            (none, client, 0, Delivery::Lease, "10.77.0.11:68"),
            (none, client, 0x8000, Delivery::Lease, all),
            (relay, client, 0, Delivery::Lease, "10.1.0.1:67"),
            (relay, none, 0, Delivery::Nak, "10.1.0.1:67"),
            (none, client, 0, Delivery::Nak, all),
            (relay, client, 0, Delivery::Inform, "10.77.0.11:68"),
        ] {
            let mut request = BootRequest::parse(&discover().bytes()).expect("parses");
            (request.giaddr, request.ciaddr, request.flags) = (giaddr, ciaddr, flags);
            assert_eq!(
                destination(&request, peer, delivery).to_string(),
                want,
                "{giaddr} {ciaddr} {delivery:?}"
            );
        }
    }

    #[test]
    fn a_relay_that_asks_for_it_is_answered_at_its_own_port() {
        let relay = Ipv4Addr::new(10, 1, 0, 1);
        let packet = discover().at(24, &relay.octets()).set(82, &[19, 0]);
        let request = BootRequest::parse(&packet.bytes()).expect("parses");
        let peer = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 2), 4067);
        let to = destination(&request, peer, Delivery::Lease);
        assert_eq!(to.to_string(), "10.1.0.1:4067");
    }

    #[test]
    fn an_allow_list_admits_its_relays_and_direct_clients() {
        let policy = RelayPolicy::Only(vec![Ipv4Addr::new(10, 1, 0, 1)]);
        assert!(policy.admits(Ipv4Addr::new(10, 1, 0, 1)));
        assert!(policy.admits(Ipv4Addr::UNSPECIFIED));
        assert!(!policy.admits(Ipv4Addr::new(10, 1, 0, 2)));
    }
}
