//! Notices other DHCP servers on our segment, by what they broadcast and by clients that name them.
//!
//! Not a probe: nothing is sent. Invariant: each (server, client) pair is told once a minute at most
//! and the memory of them is bounded, so that a storm of foreign messages stays one line.

use std::{collections::HashMap, net::Ipv4Addr};

use dhcproto::v4::borrowed;
use jiff::{SignedDuration, Timestamp};

use super::option;
use crate::{event::ForeignMessage, mac::MacAddr};

/// How long a pair is not told again.
const QUIET: SignedDuration = SignedDuration::from_secs(60);
/// Pairs remembered; while it is full of recent ones, new ones are only counted.
const REMEMBERED: usize = 1024;

/// A message of a DHCP server to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerMessage {
    /// Option 53; a BOOTP reply without one counts as an offer.
    pub(crate) sent: ForeignMessage,
    /// Option 54, else the sender of the datagram.
    pub(crate) server: Ipv4Addr,
    /// The client it is for.
    pub(crate) mac: Option<MacAddr>,
    /// What the client is given.
    pub(crate) address: Option<Ipv4Addr>,
}

impl ServerMessage {
    /// Reads what was received on the client port; `None` when it is no server's message.
    pub(crate) fn parse(datagram: &[u8], sender: Ipv4Addr) -> Option<Self> {
        if datagram.len() < 240 || datagram.first() != Some(&2) {
            return None;
        }
        let message = borrowed::Message::new(datagram).ok()?;
        let (mut sent, mut server) = (ForeignMessage::Offer, sender);
        for found in message.opts() {
            match (u8::from(found.code()), found.data()) {
                (option::MESSAGE_TYPE, [2]) => sent = ForeignMessage::Offer,
                (option::MESSAGE_TYPE, [5]) => sent = ForeignMessage::Ack,
                (option::MESSAGE_TYPE, [6]) => sent = ForeignMessage::Nak,
                (option::MESSAGE_TYPE, _) => return None,
                (option::SERVER_IDENTIFIER, data) => {
                    server = <[u8; 4]>::try_from(data).map_or(sender, Ipv4Addr::from);
                }
                _ => {}
            }
        }
        let octets = datagram.get(28..34).and_then(|o| o.first_chunk::<6>());
        let address = message.yiaddr();
        Some(Self {
            sent,
            server,
            mac: octets.copied().map(MacAddr::new),
            address: (!address.is_unspecified()).then_some(address),
        })
    }
}

/// Which pairs were told, and when.
#[derive(Debug, Default)]
pub(crate) struct Sentinel {
    told: HashMap<(Ipv4Addr, Option<MacAddr>), Timestamp>,
}

impl Sentinel {
    /// Whether to tell that `server` spoke with `mac`.
    pub(crate) fn is_news(
        &mut self,
        now: Timestamp,
        server: Ipv4Addr,
        mac: Option<MacAddr>,
    ) -> bool {
        let recent = |at: &Timestamp| now.duration_since(*at).abs() < QUIET;
        if self.told.get(&(server, mac)).is_some_and(recent) {
            return false;
        }
        if self.told.len() >= REMEMBERED {
            self.told.retain(|_, at| recent(at));
            if self.told.len() >= REMEMBERED {
                return false;
            }
        }
        self.told.insert((server, mac), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dhcp::testing::{MAC, Packet};

    const ROGUE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 66);
    const SENDER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 67);

    fn reply(kind: u8) -> Packet {
        Packet::new(kind).at(0, &[2]).at(16, &[10, 77, 0, 50])
    }

    #[test]
    fn messages_of_servers_are_understood() {
        for (kind, sent) in [
            (2, ForeignMessage::Offer),
            (5, ForeignMessage::Ack),
            (6, ForeignMessage::Nak),
        ] {
            let packet = reply(kind).set(54, &ROGUE.octets());
            let seen = ServerMessage::parse(&packet.bytes(), SENDER).expect("is one");
            let want = ServerMessage {
                sent,
                server: ROGUE,
                mac: Some(MAC),
                address: Some(Ipv4Addr::new(10, 77, 0, 50)),
            };
            assert_eq!(seen, want);
        }
        let bare = ServerMessage::parse(&reply(2).unset(53).bytes(), SENDER).expect("BOOTP");
        assert_eq!((bare.sent, bare.server), (ForeignMessage::Offer, SENDER));
        for other in [Packet::new(1), reply(1), reply(2).set(53, &[2, 2])] {
            assert_eq!(ServerMessage::parse(&other.bytes(), SENDER), None);
        }
    }

    #[test]
    fn a_pair_is_told_once_a_minute_and_memory_is_bounded() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let mut sentinel = Sentinel::default();
        assert!(sentinel.is_news(at(0), ROGUE, Some(MAC)));
        assert!(!sentinel.is_news(at(59), ROGUE, Some(MAC)));
        assert!(
            sentinel.is_news(at(59), SENDER, Some(MAC)),
            "another server"
        );
        assert!(sentinel.is_news(at(59), ROGUE, None), "another client");
        assert!(sentinel.is_news(at(60), ROGUE, Some(MAC)));
        for n in 0..10_000_u32 {
            sentinel.is_news(at(61), Ipv4Addr::from(n), None);
        }
        assert_eq!(sentinel.told.len(), REMEMBERED);
        assert!(!sentinel.is_news(at(62), Ipv4Addr::BROADCAST, None));
        assert!(sentinel.is_news(at(200), Ipv4Addr::BROADCAST, None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_parsing_panic(noise in proptest::collection::vec(any::<u8>(), 0..=400)) {
            let _parsed = ServerMessage::parse(&noise, SENDER);
            let mut bytes = reply(2).header;
            bytes.extend(noise);
            let _parsed = ServerMessage::parse(&bytes, SENDER);
        }
    }
}
