//! Replies as bytes.
//!
//! Not the choice of what to say. Invariant: a reply is at least 300 bytes (BOOTP clients drop
//! shorter ones), never longer than the client takes, has option 53 first and option 82 last.

use std::net::Ipv4Addr;

use super::{
    arch::BootClient,
    boot_file::BootFile,
    option,
    request::{BootRequest, MAX_DATAGRAM},
};
use crate::directory::{BootProtocol, Reservation};

const MINIMUM: usize = 300;
/// What every client takes (RFC 2131 section 2): 576 bytes of IP datagram.
const DEFAULT_LIMIT: usize = 576 - IP_AND_UDP;
const IP_AND_UDP: usize = 28;
const FILE_FIELD: usize = 128;
const SNAME_FIELD: usize = 64;

/// Option 53 of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ReplyKind {
    /// 2.
    Offer,
    /// 5.
    Ack,
    /// 6.
    Nak,
}

impl ReplyKind {
    const fn number(self) -> u8 {
        match self {
            Self::Offer => 2,
            Self::Ack => 5,
            Self::Nak => 6,
        }
    }

    /// Bounded label for metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Ack => "ack",
            Self::Nak => "nak",
        }
    }
}

/// The configuration to tell; without `lease_seconds` it is the answer to INFORM.
#[derive(Debug)]
pub(crate) struct Grant<'a> {
    pub(crate) reservation: &'a Reservation,
    pub(crate) host_name: Option<&'a str>,
    pub(crate) domain: Option<&'a str>,
    pub(crate) lease_seconds: Option<u32>,
    pub(crate) boot_file: Option<&'a BootFile>,
}

/// An OFFER or an ACK.
pub(crate) fn grant(
    kind: ReplyKind,
    server: Ipv4Addr,
    request: &BootRequest,
    grant: &Grant<'_>,
) -> Vec<u8> {
    let lease = grant.reservation;
    let mut reply = Writer::new(kind, server, request);
    if let Some(seconds) = grant.lease_seconds {
        reply.address(YIADDR, lease.ipv4);
        reply.put(option::LEASE_TIME, &seconds.to_be_bytes());
        reply.put(option::RENEWAL, &(seconds / 2).to_be_bytes());
        reply.put(option::REBINDING, &(seconds / 8 * 7).to_be_bytes());
    }
    reply.address(SIADDR, server);
    reply.put(option::SUBNET_MASK, &lease.subnet_mask.octets());
    if let Some(gateway) = lease.gateway {
        reply.put(option::ROUTER, &gateway.octets());
    }
    if let Some(file) = grant.boot_file {
        put_boot_file(&mut reply, server, request, file);
    }
    let dns: Vec<u8> = lease.dns.iter().flat_map(Ipv4Addr::octets).collect();
    if !dns.is_empty() {
        reply.put(option::DNS, &dns);
    }
    reply.put(
        option::BROADCAST,
        &(lease.ipv4 | !lease.subnet_mask).octets(),
    );
    if let Some(name) = grant.host_name {
        reply.put(option::HOST_NAME, name.as_bytes());
    }
    if let Some(domain) = grant.domain {
        reply.put(option::DOMAIN_NAME, domain.as_bytes());
    }
    reply.finish()
}

/// A NAK; `reason` goes into option 56 for whoever reads the capture.
pub(crate) fn nak(server: Ipv4Addr, request: &BootRequest, reason: &str) -> Vec<u8> {
    let mut reply = Writer::new(ReplyKind::Nak, server, request);
    if request.is_relayed() {
        reply.broadcast();
    }
    reply.put(option::MESSAGE, reason.as_bytes());
    reply.finish()
}

/// Names the first file both ways: firmware reads option 67, shim takes its directory from the
/// BOOTP `file` field.
fn put_boot_file(reply: &mut Writer, server: Ipv4Addr, request: &BootRequest, file: &BootFile) {
    let client = BootClient::from_vendor_class(request.vendor_class.as_deref());
    if let Some(class) = client.echoed_class() {
        reply.put(option::VENDOR_CLASS, class.as_bytes());
    }
    // With a NUL at its end: EDK2 writes one behind the text, over the next option's code when there
    // is none. Its copy of the offer is then broken, and it takes the last offer that came, which may
    // be that of a foreign server without a boot file.
    let mut name = file.name.clone().into_bytes();
    if name.len() < usize::from(u8::MAX) {
        name.push(0);
    }
    reply.put(option::BOOT_FILE, &name);
    reply.field(FILE, FILE_FIELD, file.name.as_bytes());
    match file.protocol {
        BootProtocol::Pxe => {
            let address = server.to_string();
            reply.put(option::TFTP_SERVER, address.as_bytes());
            reply.field(SNAME, SNAME_FIELD, address.as_bytes());
            // PXE_DISCOVERY_CONTROL bit 3: load the named file, look for no boot server. Without it
            // a client that sees option 60 asks port 4011 first.
            reply.put(option::VENDOR_SPECIFIC, &[6, 1, 8, 255]);
        }
        BootProtocol::Http => {}
    }
    if let Some(uuid) = &request.client_uuid {
        reply.put(option::CLIENT_UUID, uuid);
    }
}

const FLAGS: usize = 10;
const CIADDR: usize = 12;
const YIADDR: usize = 16;
const SIADDR: usize = 20;
const GIADDR: usize = 24;
const CHADDR: usize = 28;
const SNAME: usize = 44;
const FILE: usize = 108;
const COOKIE: usize = 236;

/// Fills the fixed part in place and appends options while they fit.
struct Writer {
    bytes: Vec<u8>,
    limit: usize,
    tail: Vec<u8>,
}

impl Writer {
    fn new(kind: ReplyKind, server: Ipv4Addr, request: &BootRequest) -> Self {
        let mut tail = Vec::new();
        if let Some(agent) = &request.relay_agent {
            append(&mut tail, option::RELAY_AGENT, agent);
        }
        let asked = request.max_message_size.map_or(DEFAULT_LIMIT, |size| {
            usize::from(size)
                .saturating_sub(IP_AND_UDP)
                .max(DEFAULT_LIMIT)
        });
        let mut writer = Self {
            bytes: vec![0; COOKIE],
            limit: asked.min(MAX_DATAGRAM - IP_AND_UDP),
            tail,
        };
        writer.set(0, &[2, 1, 6, 0]);
        writer.set(4, &request.xid.to_be_bytes());
        writer.set(FLAGS, &request.flags.to_be_bytes());
        writer.address(GIADDR, request.giaddr);
        writer.set(CHADDR, &request.mac.octets());
        if kind == ReplyKind::Ack {
            writer.address(CIADDR, request.ciaddr);
        }
        writer.bytes.extend([99, 130, 83, 99]);
        writer.put(option::MESSAGE_TYPE, &[kind.number()]);
        writer.put(option::SERVER_IDENTIFIER, &server.octets());
        if let Some(id) = &request.client_id {
            writer.put(option::CLIENT_ID, id);
        }
        writer
    }

    fn set(&mut self, offset: usize, value: &[u8]) {
        if let Some(place) = self.bytes.get_mut(offset..offset + value.len()) {
            place.copy_from_slice(value);
        }
    }

    fn address(&mut self, offset: usize, address: Ipv4Addr) {
        self.set(offset, &address.octets());
    }

    fn broadcast(&mut self) {
        self.set(FLAGS, &0x8000_u16.to_be_bytes());
    }

    /// A NUL-terminated text field; a text that does not fit stays out.
    fn field(&mut self, offset: usize, size: usize, text: &[u8]) {
        if text.len() < size {
            self.set(offset, text);
        }
    }

    /// Appends an option unless the client could not take the message then. The caller puts what
    /// matters most first.
    fn put(&mut self, code: u8, data: &[u8]) {
        let end_and_tail = 1 + self.tail.len();
        let parts = data.len().div_ceil(255);
        if self.bytes.len() + data.len() + 2 * parts + end_and_tail <= self.limit {
            append(&mut self.bytes, code, data);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.append(&mut self.tail);
        self.bytes.push(option::END);
        if self.bytes.len() < MINIMUM {
            self.bytes.resize(MINIMUM, 0);
        }
        self.bytes
    }
}

/// One option, split as RFC 3396 says when it is longer than 255 bytes.
fn append(bytes: &mut Vec<u8>, code: u8, data: &[u8]) {
    for part in data.chunks(255) {
        bytes.push(code);
        bytes.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests;
