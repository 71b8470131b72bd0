//! The messages a PXE client sends, and what it reads of the answers.
//!
//! Not a DHCP library: only what a generator needs. Invariant: every message has the options of
//! real UEFI firmware, so that servers do the work they would do for it.

use std::net::Ipv4Addr;

/// DHCPDISCOVER.
pub const DISCOVER: u8 = 1;
/// DHCPOFFER.
pub const OFFER: u8 = 2;
/// DHCPREQUEST.
pub const REQUEST: u8 = 3;
/// DHCPACK.
pub const ACK: u8 = 5;
/// DHCPNAK.
pub const NAK: u8 = 6;

/// What an OFFER promised, to be repeated in the REQUEST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The address offered.
    pub address: Ipv4Addr,
    /// Option 54.
    pub server: [u8; 4],
}

/// What varies between messages.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    /// DISCOVER or REQUEST.
    pub kind: u8,
    /// Transaction.
    pub xid: u32,
    /// Hardware address.
    pub mac: [u8; 6],
    /// `giaddr`.
    pub relay: Ipv4Addr,
    /// Seconds since the client began.
    pub secs: u16,
    /// In a REQUEST, the offer that is taken.
    pub offer: Option<Offer>,
}

impl Message {
    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend([1, 1, 6, 1]);
        out.extend(self.xid.to_be_bytes());
        out.extend(self.secs.to_be_bytes());
        out.extend([0; 14]);
        out.extend(self.relay.octets());
        out.extend(self.mac);
        out.extend([0; 10 + 192]);
        out.extend([99, 130, 83, 99, 53, 1, self.kind]);
        if let Some(offer) = self.offer {
            out.extend([50, 4]);
            out.extend(offer.address.octets());
            out.extend([54, 4]);
            out.extend(offer.server);
        }
        out.extend([57, 2, 5, 192]);
        out.extend([55, 13, 1, 2, 3, 6, 12, 15, 43, 54, 60, 66, 67, 97, 128]);
        out.extend([60, 32]);
        out.extend(b"PXEClient:Arch:00007:UNDI:003016");
        out.extend([93, 2, 0, 7, 94, 3, 1, 3, 16, 97, 17, 0]);
        out.extend(self.mac);
        out.extend([0; 10]);
        out.push(255);
    }
}

/// What a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Option 53.
    pub kind: u8,
    /// Transaction.
    pub xid: u32,
    /// `yiaddr`.
    pub address: Ipv4Addr,
    /// Option 54.
    pub server: [u8; 4],
    /// In `file` or option 67.
    pub has_boot_file: bool,
}

impl Reply {
    /// Reads a reply; `None` for anything else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (fixed, mut rest) = bytes.split_at_checked(240)?;
        let field = |at: usize| fixed.get(at..at + 4)?.first_chunk::<4>().copied();
        let mut reply = Self {
            kind: 0,
            xid: u32::from_be_bytes(field(4)?),
            address: field(16)?.into(),
            server: [0; 4],
            has_boot_file: *fixed.get(108)? != 0,
        };
        if *fixed.first()? != 2 {
            return None;
        }
        while let [code, after @ ..] = rest {
            if *code == 255 {
                break;
            }
            if *code == 0 {
                rest = after;
                continue;
            }
            let (length, after) = after.split_first()?;
            let (value, after) = after.split_at_checked(usize::from(*length))?;
            match (*code, value) {
                (53, [kind]) => reply.kind = *kind,
                (54, [a, b, c, d]) => reply.server = [*a, *b, *c, *d],
                (67, [_, ..]) => reply.has_boot_file = true,
                _ => {}
            }
            rest = after;
        }
        Some(reply)
    }

    /// What a REQUEST for this offer repeats.
    pub fn offer(&self) -> Offer {
        Offer {
            address: self.address,
            server: self.server,
        }
    }
}
