//! DHCP clients behind a relay (RFC 2131), as UEFI PXE firmware behaves.

pub mod first;
pub mod load;
pub mod message;
pub mod storm;

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use self::message::Reply;
use crate::udp;

/// Port of servers and relays.
pub const PORT: u16 = 67;
/// Hardware address of client 0; client `i` has the `i`-th after it.
pub const FIRST_MAC: u64 = 0x000c_0102_0304;

/// Where the generator stands: on the relay's address, in front of one server.
#[derive(Debug, Clone, Copy)]
pub struct Relay {
    /// The server.
    pub server: SocketAddrV4,
    /// Our address, and `giaddr` of every message.
    pub relay: Ipv4Addr,
    /// Our port.
    pub port: u16,
}

impl Relay {
    fn socket(self) -> Result<UdpSocket> {
        udp::bind(SocketAddrV4::new(self.relay, self.port), 8 << 20)
            .with_context(|| format!("port {} of {}", self.port, self.relay))
    }
}

/// Hardware address of a client.
pub fn mac(client: u64) -> [u8; 6] {
    let bytes = (FIRST_MAC + client).to_be_bytes();
    bytes.last_chunk().copied().unwrap_or_default()
}

/// Who was given what, to see addresses that move or are given twice.
#[derive(Debug, Default)]
struct Bound {
    address_of: HashMap<u64, Ipv4Addr>,
    owner_of: HashMap<Ipv4Addr, u64>,
    moved: u64,
    shared: u64,
    without_boot_file: u64,
    refused: u64,
}

impl Bound {
    fn bind(&mut self, client: u64, reply: &Reply) {
        let address = reply.address;
        let earlier = self.address_of.insert(client, address);
        self.moved += u64::from(earlier.is_some_and(|earlier| earlier != address));
        let owner = self.owner_of.insert(address, client);
        self.shared += u64::from(owner.is_some_and(|owner| owner != client));
        self.without_boot_file += u64::from(!reply.has_boot_file);
    }

    fn json(&self) -> Value {
        json!({
            "moved": self.moved, "shared": self.shared, "refused": self.refused,
            "without_boot_file": self.without_boot_file,
        })
    }
}
