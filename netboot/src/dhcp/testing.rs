//! Packets and machines for the tests of this module; the bytes are built by hand so that neither
//! our writer nor dhcproto judges itself.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    sync::Arc,
};

use jiff::Timestamp;

use super::decide::{Arrival, Role, Server};
use crate::{
    directory::{Architecture, BootMachine, BootProtocol, Reservation},
    images::{ImageMetadata, UnpackedImage},
    mac::MacAddr,
};

pub(crate) const MAC: MacAddr = MacAddr::new([0x52, 0x54, 0, 0x77, 0, 0x11]);
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Our side: an authority without extras.
pub(crate) fn server() -> Server {
    Server {
        address: SERVER,
        serve_url: "http://10.77.0.1:8880".into(),
        lease_seconds: 86_400,
        domain: None,
        ntp: vec![],
        role: Role::Authority,
        known_servers: vec![],
    }
}

/// A datagram that came just now from the client port of the machine.
pub(crate) fn arrival() -> Arrival {
    Arrival {
        now: Timestamp::UNIX_EPOCH,
        peer: SocketAddrV4::new(ADDRESS, 68),
        tell: true,
    }
}

/// A request whose parts can be replaced one by one.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) header: Vec<u8>,
    options: Vec<(u8, Vec<u8>)>,
}

impl Packet {
    pub(crate) fn new(kind: u8) -> Self {
        let mut header = vec![0; 236];
        header[..3].copy_from_slice(&[1, 1, 6]);
        header[4..8].copy_from_slice(&0xdead_beef_u32.to_be_bytes());
        header[28..34].copy_from_slice(&MAC.octets());
        header.extend([99, 130, 83, 99]);
        Self {
            header,
            options: vec![(53, vec![kind])],
        }
    }

    pub(crate) fn set(mut self, code: u8, data: &[u8]) -> Self {
        self = self.unset(code);
        self.options.push((code, data.to_vec()));
        self
    }

    pub(crate) fn unset(mut self, code: u8) -> Self {
        self.options.retain(|(other, _)| *other != code);
        self
    }

    pub(crate) fn at(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.header[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.clone();
        for (code, data) in &self.options {
            bytes.push(*code);
            bytes.push(u8::try_from(data.len()).expect("short option"));
            bytes.extend(data);
        }
        bytes.push(255);
        bytes
    }
}

/// What OVMF sends first when it boots by PXE, option by option.
pub(crate) fn discover() -> Packet {
    let mut uuid = vec![0];
    uuid.extend([0xab; 16]);
    Packet::new(1)
        .at(10, &[0x80, 0])
        .set(57, &1472_u16.to_be_bytes())
        .set(
            55,
            &[
                1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58,
                59, 60, 66, 67, 97, 128, 129, 130, 131, 132, 133, 134, 135,
            ],
        )
        .set(97, &uuid)
        .set(94, &[1, 3, 0])
        .set(93, &[0, 7])
        .set(60, b"PXEClient:Arch:00007:UNDI:003000")
}

/// A machine of ours with one NIC and a netboot image.
pub(crate) fn machine() -> BootMachine {
    BootMachine {
        name: "node-1".into(),
        leases: vec![Reservation {
            mac: MAC,
            ipv4: ADDRESS,
            subnet_mask: Ipv4Addr::new(255, 255, 255, 0),
            gateway: Some(SERVER),
            dns: vec![SERVER, Ipv4Addr::new(9, 9, 9, 9)],
            mtu: None,
        }],
        architecture: Architecture::Amd64,
        protocol: BootProtocol::Pxe,
        netboot: Some(Arc::new(UnpackedImage {
            digest: "sha256:00".into(),
            root: PathBuf::from("/nowhere"),
            metadata: ImageMetadata {
                dhcp_boot_image_name: Some("shimx64.efi".into()),
                http_boot_path: Some("shimx64.efi".into()),
            },
            disk: None,
        })),
        install: None,
        context: Arc::new(serde_json::Value::Null),
    }
}
