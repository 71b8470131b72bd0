//! Bytes from the wire to a checked request, or a named refusal.
//!
//! Not the decision whether to answer. Invariant: a [`BootRequest`] has a unicast Ethernet address,
//! a message type a client may send, and options of the right length; what it does not carry is
//! `None` because it was absent, never because it was malformed.

use std::net::Ipv4Addr;

use dhcproto::v4::borrowed;

use super::{agent::RelayAgent, arch::ClientArch, joined::Joined, option};
use crate::mac::MacAddr;

/// Longest datagram looked at; Ethernet cannot carry more unfragmented.
pub const MAX_DATAGRAM: usize = 1500;

pub(super) const FIXED_PART: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// What a client may ask (option 53).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// 1.
    Discover,
    /// 3.
    Request,
    /// 4.
    Decline,
    /// 7.
    Release,
    /// 8.
    Inform,
}

impl RequestKind {
    /// Bounded label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::Request => "request",
            Self::Decline => "decline",
            Self::Release => "release",
            Self::Inform => "inform",
        }
    }
}

/// A well-formed message from a client, perhaps through a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootRequest {
    /// Option 53.
    pub kind: RequestKind,
    /// Transaction id, echoed.
    pub xid: u32,
    /// Seconds the client has been trying.
    pub secs: u16,
    /// All flag bits, echoed.
    pub flags: u16,
    /// The client's address, when it has one and can answer ARP for it.
    pub ciaddr: Ipv4Addr,
    /// The relay's address on the client's link, or 0.0.0.0.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address.
    pub mac: MacAddr,
    /// Option 50.
    pub requested_address: Option<Ipv4Addr>,
    /// Option 54.
    pub server_identifier: Option<Ipv4Addr>,
    /// Option 57.
    pub max_message_size: Option<u16>,
    /// Option 60; bytes that are not UTF-8 are replaced.
    pub vendor_class: Option<String>,
    /// Option 61, echoed (RFC 6842).
    pub client_id: Option<Vec<u8>>,
    /// Option 55: the options asked for, in the client's order of preference.
    pub parameters: Option<Vec<u8>>,
    /// Option 82, echoed byte by byte (RFC 3046).
    pub relay_agent: Option<RelayAgent>,
    /// Option 93: all architectures the firmware claims, in its order.
    pub architectures: Vec<ClientArch>,
    /// Option 97, echoed (RFC 4578).
    pub client_uuid: Option<Vec<u8>>,
}

/// Why a datagram is not a request to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Shorter than the fixed part of a DHCP message.
    #[error("datagram is too short")]
    TooShort,
    /// Longer than [`MAX_DATAGRAM`].
    #[error("datagram is too long")]
    TooLong,
    /// `op` is not BOOTREQUEST: another server's answer, or noise.
    #[error("message is not a request")]
    NotARequest,
    /// `htype` or `hlen` is not Ethernet's.
    #[error("hardware type is not Ethernet")]
    NotEthernet,
    /// A group address or all zeros cannot be a client's.
    #[error("hardware address is not unicast")]
    NotUnicast,
    /// The magic cookie of RFC 1497 is missing: BOOTP or noise.
    #[error("magic cookie is missing")]
    NoCookie,
    /// No option 53.
    #[error("message type is missing")]
    NoMessageType,
    /// Option 53 is none that a client sends.
    #[error("message type {0} is not a client's")]
    MessageType(u8),
    /// An option has a length it must not have, or the options end in the middle of one.
    #[error("option {0} is malformed")]
    BadOption(u8),
}

impl Refusal {
    /// Bounded label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::NotARequest => "not_a_request",
            Self::NotEthernet => "not_ethernet",
            Self::NotUnicast => "not_unicast",
            Self::NoCookie => "no_cookie",
            Self::NoMessageType => "no_message_type",
            Self::MessageType(_) => "message_type",
            Self::BadOption(_) => "bad_option",
        }
    }
}

impl BootRequest {
    /// Reads one datagram as received on the server port.
    pub fn parse(datagram: &[u8]) -> Result<Self, Refusal> {
        if datagram.len() > MAX_DATAGRAM {
            return Err(Refusal::TooLong);
        }
        let (Some([op, htype, hlen]), Some(cookie)) = (
            datagram.first_chunk::<3>(),
            datagram.get(FIXED_PART - 4..FIXED_PART),
        ) else {
            return Err(Refusal::TooShort);
        };
        if *op != 1 {
            return Err(Refusal::NotARequest);
        }
        if (*htype, *hlen) != (1, 6) {
            return Err(Refusal::NotEthernet);
        }
        if cookie != COOKIE {
            return Err(Refusal::NoCookie);
        }
        let message = borrowed::Message::new(datagram).map_err(|_| Refusal::TooShort)?;
        let octets: [u8; 6] = message
            .chaddr()
            .try_into()
            .map_err(|_| Refusal::NotEthernet)?;
        if octets[0] & 1 == 1 || octets == [0; 6] {
            return Err(Refusal::NotUnicast);
        }
        let options = Options::read(datagram)?;
        Ok(Self {
            kind: options.kind()?,
            xid: message.xid(),
            secs: message.secs(),
            flags: message.flags().into(),
            ciaddr: message.ciaddr(),
            giaddr: message.giaddr(),
            mac: MacAddr::new(octets),
            requested_address: options.requested_address,
            server_identifier: options.server_identifier,
            max_message_size: options.max_message_size,
            vendor_class: options.vendor_class,
            client_id: options.client_id,
            parameters: options.parameters,
            relay_agent: options.relay_agent,
            architectures: options.architectures,
            client_uuid: options.client_uuid,
        })
    }

    /// The hardware address and the transaction id of a datagram that may be a request, before
    /// anything else is looked at.
    pub fn peek(datagram: &[u8]) -> Option<(MacAddr, u32)> {
        let octets = datagram.get(28..34)?.first_chunk::<6>()?;
        let xid = datagram.get(4..8)?.first_chunk::<4>()?;
        Some((MacAddr::new(*octets), u32::from_be_bytes(*xid)))
    }

    /// The client cannot receive unicast before it is configured (RFC 2131 section 4.1).
    pub const fn is_broadcast(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// Whether a relay passed it on.
    pub const fn is_relayed(&self) -> bool {
        !self.giaddr.is_unspecified()
    }

    /// Option 97 as firmware prints it: the first three parts are little-endian on the wire
    /// (type 0, RFC 4578 section 2.3).
    pub fn uuid_text(&self) -> Option<String> {
        let octets = self.client_uuid.as_deref()?.strip_prefix(&[0])?;
        let uuid = uuid::Uuid::from_bytes_le(octets.try_into().ok()?);
        (!uuid.is_nil()).then(|| uuid.to_string())
    }

    /// An address in the client's subnet, as far as the relay tells: what it selects (RFC 3527),
    /// else `giaddr`; `None` for a client on our own link.
    pub fn relayed_link(&self) -> Option<Ipv4Addr> {
        if !self.is_relayed() {
            return None;
        }
        let selected = self
            .relay_agent
            .as_ref()
            .and_then(RelayAgent::link_selection);
        Some(selected.unwrap_or(self.giaddr))
    }

    /// Under which address the client knows us, when its relay says so (RFC 5107).
    pub fn server_override(&self) -> Option<Ipv4Addr> {
        let agent = self.relay_agent.as_ref().filter(|_| self.is_relayed());
        agent.and_then(RelayAgent::server_identifier_override)
    }

    /// The architecture to serve: the first of option 93 that we have files for, else its first,
    /// else what option 60 says.
    pub fn arch(&self) -> Option<ClientArch> {
        let usable = self
            .architectures
            .iter()
            .find(|arch| arch.machine().is_ok());
        usable
            .or_else(|| self.architectures.first())
            .copied()
            .or_else(|| {
                self.vendor_class
                    .as_deref()
                    .and_then(ClientArch::from_vendor_class)
            })
    }
}

#[derive(Default)]
struct Options {
    message_type: Option<u8>,
    requested_address: Option<Ipv4Addr>,
    server_identifier: Option<Ipv4Addr>,
    max_message_size: Option<u16>,
    vendor_class: Option<String>,
    client_id: Option<Vec<u8>>,
    parameters: Option<Vec<u8>>,
    relay_agent: Option<RelayAgent>,
    architectures: Vec<ClientArch>,
    client_uuid: Option<Vec<u8>>,
}

impl Options {
    fn read(datagram: &[u8]) -> Result<Self, Refusal> {
        let joined = Joined::read(datagram)?;
        let mut options = Self::default();
        for (code, data) in &joined.options {
            options.take(*code, data)?;
        }
        Ok(options)
    }

    fn take(&mut self, code: u8, data: &[u8]) -> Result<(), Refusal> {
        let bad = Refusal::BadOption(code);
        let address = || {
            <[u8; 4]>::try_from(data)
                .map(Ipv4Addr::from)
                .map_err(|_| bad)
        };
        match code {
            option::MESSAGE_TYPE => {
                let [kind] = data else { return Err(bad) };
                self.message_type = Some(*kind);
            }
            option::REQUESTED_ADDRESS => self.requested_address = Some(address()?),
            option::SERVER_IDENTIFIER => self.server_identifier = Some(address()?),
            option::PARAMETER_LIST => self.parameters = Some(data.to_vec()),
            option::MAX_MESSAGE_SIZE => {
                let size = <[u8; 2]>::try_from(data).map_err(|_| bad)?;
                self.max_message_size = Some(u16::from_be_bytes(size));
            }
            option::VENDOR_CLASS => {
                let text = String::from_utf8_lossy(data);
                self.vendor_class = Some(text.trim_end_matches('\0').to_owned());
            }
            option::CLIENT_ID => self.client_id = Some(data.to_vec()),
            option::RELAY_AGENT => self.relay_agent = Some(RelayAgent::new(data.to_vec())),
            option::CLIENT_ARCH => {
                let (numbers, rest) = data.as_chunks::<2>();
                if numbers.is_empty() || !rest.is_empty() {
                    return Err(bad);
                }
                self.architectures = numbers
                    .iter()
                    .map(|number| ClientArch::from_number(u16::from_be_bytes(*number)))
                    .collect();
            }
            option::CLIENT_UUID => self.client_uuid = Some(data.to_vec()),
            _ => {}
        }
        Ok(())
    }

    fn kind(&self) -> Result<RequestKind, Refusal> {
        match self.message_type {
            None => Err(Refusal::NoMessageType),
            Some(1) => Ok(RequestKind::Discover),
            Some(3) => Ok(RequestKind::Request),
            Some(4) => Ok(RequestKind::Decline),
            Some(7) => Ok(RequestKind::Release),
            Some(8) => Ok(RequestKind::Inform),
            Some(other) => Err(Refusal::MessageType(other)),
        }
    }
}

#[cfg(test)]
mod tests;
