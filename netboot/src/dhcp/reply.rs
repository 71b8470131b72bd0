//! Replies as bytes.
//!
//! Not the choice of what to say. Invariant: a reply is at least 300 bytes (BOOTP clients drop
//! shorter ones), never longer than the client takes, has option 53 first and option 82 last, and
//! no option twice.

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
    pub(crate) ntp: &'a [Ipv4Addr],
    pub(crate) lease_seconds: Option<u32>,
    pub(crate) boot_file: Option<&'a BootFile>,
}

/// What a client that sends no option 55 is told, the most important first.
const UNASKED: [u8; 9] = [
    option::ROUTER,
    option::DNS,
    option::BROADCAST,
    option::HOST_NAME,
    option::DOMAIN_NAME,
    option::INTERFACE_MTU,
    option::NTP,
    option::RENEWAL,
    option::REBINDING,
];

/// An OFFER or an ACK: first what nobody can do without, then what was asked for, in the client's
/// order (RFC 2132 section 9.8), as far as it takes.
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
    }
    reply.address(SIADDR, server);
    reply.put(option::SUBNET_MASK, &lease.subnet_mask.octets());
    if let Some(file) = grant.boot_file {
        // Loaders use the firmware's answer, whose list does not know what they need.
        put_asked(&mut reply, grant, option::ROUTER);
        put_boot_file(&mut reply, server, request, file);
        put_asked(&mut reply, grant, option::DNS);
    }
    for code in request.parameters.as_deref().unwrap_or(&UNASKED) {
        put_asked(&mut reply, grant, *code);
    }
    reply.finish()
}

/// Puts one option of the configuration, if there is such a thing to tell.
fn put_asked(reply: &mut Writer, grant: &Grant<'_>, code: u8) {
    let lease = grant.reservation;
    match code {
        option::ROUTER => put_addresses(reply, code, lease.gateway.as_slice()),
        option::DNS if grant.boot_file.is_some_and(BootFile::is_at_literal_address) => {}
        option::DNS => put_addresses(reply, code, &lease.dns),
        option::NTP => put_addresses(reply, code, grant.ntp),
        option::BROADCAST => {
            let broadcast = lease.ipv4 | !lease.subnet_mask;
            reply.put(code, &broadcast.octets());
        }
        option::HOST_NAME => put_text(reply, code, grant.host_name),
        option::DOMAIN_NAME => put_text(reply, code, grant.domain),
        option::INTERFACE_MTU => {
            if let Some(mtu) = lease.mtu {
                reply.put(code, &mtu.to_be_bytes());
            }
        }
        option::RENEWAL | option::REBINDING => {
            if let Some(lease) = grant.lease_seconds {
                let renewal = code == option::RENEWAL;
                let seconds = if renewal { lease / 2 } else { lease / 8 * 7 };
                reply.put(code, &seconds.to_be_bytes());
            }
        }
        _ => {}
    }
}

fn put_addresses(reply: &mut Writer, code: u8, addresses: &[Ipv4Addr]) {
    if !addresses.is_empty() {
        let octets: Vec<u8> = addresses.iter().flat_map(Ipv4Addr::octets).collect();
        reply.put(code, &octets);
    }
}

fn put_text(reply: &mut Writer, code: u8, text: Option<&str>) {
    if let Some(text) = text {
        reply.put(code, text.as_bytes());
    }
}

/// An OFFER or an ACK that names a boot file and nothing else.
pub(crate) fn boot_only(
    kind: ReplyKind,
    server: Ipv4Addr,
    request: &BootRequest,
    file: &BootFile,
) -> Vec<u8> {
    let mut reply = Writer::new(kind, server, request);
    reply.address(SIADDR, server);
    put_boot_file(&mut reply, server, request, file);
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
    /// One bit for each option that was put.
    told: [u64; 4],
}

impl Writer {
    fn new(kind: ReplyKind, server: Ipv4Addr, request: &BootRequest) -> Self {
        let mut tail = Vec::new();
        if let Some(agent) = &request.relay_agent {
            append(&mut tail, option::RELAY_AGENT, agent.as_bytes());
        }
        let asked = request.max_message_size.map_or(DEFAULT_LIMIT, |size| {
            usize::from(size)
                .saturating_sub(IP_AND_UDP)
                .max(DEFAULT_LIMIT)
        });
        let mut writer = Self {
            bytes: zeroes(),
            limit: asked.min(MAX_DATAGRAM - IP_AND_UDP),
            tail,
            told: [0; 4],
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
        let identifier = request.server_override().unwrap_or(server);
        writer.put(option::SERVER_IDENTIFIER, &identifier.octets());
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

    /// Appends an option unless it is there already or the client could not take the message then.
    /// The caller puts what matters most first.
    fn put(&mut self, code: u8, data: &[u8]) {
        let bit = 1_u64 << (code % 64);
        let Some(told) = self.told.get_mut(usize::from(code / 64)) else {
            return;
        };
        let end_and_tail = 1 + self.tail.len();
        let parts = data.len().div_ceil(255).max(1);
        let fits = self.bytes.len() + data.len() + 2 * parts + end_and_tail <= self.limit;
        if fits && *told & bit == 0 {
            *told |= bit;
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

/// The fixed part, with room for the options.
fn zeroes() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(DEFAULT_LIMIT);
    bytes.resize(COOKIE, 0);
    bytes
}

/// One option, split as RFC 3396 says when it is longer than 255 bytes. An empty one is an option
/// too: what a relay sends comes back as it was.
fn append(bytes: &mut Vec<u8>, code: u8, data: &[u8]) {
    if data.is_empty() {
        bytes.extend([code, 0]);
    }
    for part in data.chunks(255) {
        bytes.push(code);
        bytes.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests;
