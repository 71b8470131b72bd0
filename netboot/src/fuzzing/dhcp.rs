//! A datagram at the DHCP port: whatever it says, an answer is right or there is none.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    dhcp::{
        decide::{Arrival, Role, Server, decide},
        request::BootRequest,
    },
    directory::{Architecture, BootMachine, BootProtocol, InMemory, Reservation},
    images::{ImageMetadata, UnpackedImage},
    mac::MacAddr,
};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Bytes of IP and UDP headers, which option 57 counts.
const HEADERS: usize = 28;

fn directory() -> &'static InMemory {
    static DIRECTORY: OnceLock<InMemory> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let long = "b".repeat(200);
        InMemory::new(vec![
            machine(0x11, Architecture::Amd64, BootProtocol::Pxe, "shimx64.efi"),
            machine(
                0x12,
                Architecture::Arm64,
                BootProtocol::Http,
                "shimaa64.efi",
            ),
            machine(0x13, Architecture::Amd64, BootProtocol::Http, &long),
        ])
    })
}

/// A machine with two addresses on one NIC and one on another.
fn machine(
    last: u8,
    architecture: Architecture,
    protocol: BootProtocol,
    file: &str,
) -> BootMachine {
    let reservation = |nic: u8, subnet: u8| Reservation {
        mac: MacAddr::new([0x52, 0x54, 0, 0x77, nic, last]),
        ipv4: Ipv4Addr::new(10, 77, subnet, last),
        subnet_mask: Ipv4Addr::new(255, 255, 255, 0),
        gateway: (subnet == 0).then_some(SERVER),
        dns: vec![SERVER; usize::from(last & 3)],
        mtu: (subnet == 1).then_some(9000),
    };
    BootMachine {
        name: format!("node-{last}"),
        leases: vec![reservation(0, 0), reservation(0, 1), reservation(1, 2)],
        architecture,
        protocol,
        netboot: Some(Arc::new(UnpackedImage {
            digest: "sha256:00".to_owned(),
            root: PathBuf::from("/nowhere"),
            metadata: ImageMetadata {
                dhcp_boot_image_name: Some(file.to_owned()),
                http_boot_path: Some(file.to_owned()),
            },
            disk: None,
        })),
        install: None,
        context: Arc::new(Value::Null),
    }
}

/// Decode, decide, reply.
pub fn dhcp(data: &[u8]) {
    let Ok(request) = BootRequest::parse(data) else {
        return;
    };
    let server = Server {
        address: SERVER,
        serve_url: "http://10.77.0.1:8880".to_owned(),
        lease_seconds: 86_400,
        domain: Some("lab.example".to_owned()),
        ntp: vec![SERVER; 2],
        role: Role::Authority,
        known_servers: Vec::new(),
    };
    let arrival = Arrival {
        now: Timestamp::UNIX_EPOCH,
        peer: SocketAddrV4::new(request.giaddr, 67),
        tell: true,
    };
    let decision = decide(arrival, &server, directory(), &request);
    if let Some(reply) = decision.reply {
        let to = (*reply.to.ip(), reply.to.port());
        check(data, &reply.bytes, to);
    }
}

/// Compares an answer with the question, both read by this file's own eyes.
fn check(question: &[u8], reply: &[u8], to: (Ipv4Addr, u16)) {
    let asked = Options::read(question).expect("an answered question has good options");
    let said = Options::read(reply).expect("our options are well-formed");
    let overloaded = asked.get(52).is_some();
    assert!(reply.len() >= 300, "{} bytes, BOOTP wants 300", reply.len());
    let most = match asked.get(57).as_deref() {
        Some([high, low]) if !overloaded => usize::from(u16::from_be_bytes([*high, *low])),
        _ if overloaded => 1500,
        _ => 576,
    };
    assert!(
        reply.len() + HEADERS <= most.max(576),
        "longer than option 57 allows"
    );
    assert!(reply.len() + HEADERS <= 1500, "longer than a frame");
    assert_eq!(reply[..3], [2, 1, 6], "op, htype, hlen");
    assert_eq!(reply[4..8], question[4..8], "xid");
    assert_eq!(reply[24..28], question[24..28], "giaddr");
    assert_eq!(reply[28..44], padded(&question[28..34]), "chaddr");
    assert_eq!(reply[236..240], [99, 130, 83, 99], "cookie");
    assert!(
        reply[107] == 0 && reply[235] == 0,
        "sname and file end with NUL"
    );
    if !overloaded {
        let identifier = asked.server_identifier(address(question, 24));
        assert_eq!(
            said.get(54).as_deref(),
            Some(&identifier.octets()[..]),
            "server identifier"
        );
    }
    assert_eq!(said.first, Some(53), "the message type comes first");
    if !overloaded {
        assert_eq!(said.get(82), asked.get(82), "relay agent information");
        match (asked.get(61), said.get(61)) {
            (Some(id), None) => {
                let grown = said.end + HEADERS + id.len() + 2 * id.len().div_ceil(255).max(1);
                assert!(grown > most.max(576), "the client identifier would fit");
            }
            (asked, said) => assert_eq!(said, asked, "client identifier"),
        }
    }
    if said.get(82).is_some() {
        assert_eq!(said.last, Some(82), "relay agent information comes last");
    }
    let kind = said.get(53).expect("has a type")[0];
    let yiaddr = address(reply, 16);
    check_address(question, kind, yiaddr);
    let relay = address(question, 24);
    let client = address(question, 12);
    let allowed = [(Ipv4Addr::BROADCAST, 68), (client, 68), (relay, 67)];
    assert!(
        allowed.contains(&to) && !to.0.is_unspecified(),
        "sent to {to:?}"
    );
}

fn check_address(question: &[u8], kind: u8, yiaddr: Ipv4Addr) {
    let asked = Options::read(question).expect("read before");
    let of_mac = |address: Ipv4Addr| {
        let [nic, last] = [question[32], question[33]];
        let ours = question[28..32] == [0x52, 0x54, 0, 0x77] && (0x11..=0x13).contains(&last);
        let subnets: &[u8] = match nic {
            0 => &[0, 1],
            1 => &[2],
            _ => &[],
        };
        ours && subnets
            .iter()
            .any(|subnet| address == Ipv4Addr::new(10, 77, *subnet, last))
    };
    let overloaded = asked.get(52).is_some();
    let asked_kind = asked.get(53).and_then(|kind| kind.first().copied());
    match kind {
        2 => assert!(of_mac(yiaddr), "offered {yiaddr} to another MAC"),
        5 if yiaddr.is_unspecified() => {
            assert!(
                overloaded || asked_kind == Some(8),
                "only INFORM gets no address"
            );
        }
        5 => {
            assert!(of_mac(yiaddr), "acknowledged {yiaddr} to another MAC");
            let wanted = asked.get(50).unwrap_or_else(|| question[12..16].to_vec());
            assert!(
                overloaded || wanted == yiaddr.octets(),
                "acknowledged another address"
            );
        }
        6 => assert!(yiaddr.is_unspecified(), "a NAK with an address"),
        other => assert_eq!(other, 2, "not a message type of a server"),
    }
    if let Some(id) = asked.get(54)
        && !overloaded
        && asked_kind != Some(1)
    {
        let ours = [
            SERVER.octets(),
            asked.server_identifier(address(question, 24)).octets(),
        ];
        assert!(
            ours.iter().any(|ours| id == *ours),
            "answered what was meant for another server"
        );
    }
}

fn padded(mac: &[u8]) -> [u8; 16] {
    let mut padded = [0; 16];
    padded[..6].copy_from_slice(mac);
    padded
}

fn address(message: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(
        message[at],
        message[at + 1],
        message[at + 2],
        message[at + 3],
    )
}

/// The options area, parts of one option joined (RFC 3396).
struct Options {
    all: Vec<(u8, Vec<u8>)>,
    first: Option<u8>,
    last: Option<u8>,
    /// Bytes of the message without padding.
    end: usize,
}

impl Options {
    fn read(message: &[u8]) -> Option<Self> {
        let mut rest = message.get(240..)?;
        let mut options = Self {
            all: Vec::new(),
            first: None,
            last: None,
            end: message.len(),
        };
        while let Some((code, tail)) = rest.split_first() {
            rest = match *code {
                0 => tail,
                255 => {
                    options.end = message.len() - tail.len();
                    break;
                }
                code => {
                    let (length, tail) = tail.split_first()?;
                    let data = tail.get(..usize::from(*length))?;
                    options.first.get_or_insert(code);
                    options.last = Some(code);
                    match options.all.iter_mut().find(|(other, _)| *other == code) {
                        Some((_, joined)) => joined.extend_from_slice(data),
                        None => options.all.push((code, data.to_vec())),
                    }
                    &tail[usize::from(*length)..]
                }
            };
        }
        Some(options)
    }

    /// Under which address the client knows the server: ours, or what its relay says (RFC 5107).
    fn server_identifier(&self, relay: Ipv4Addr) -> Ipv4Addr {
        let agent = self.get(82).filter(|_| !relay.is_unspecified());
        let agent = agent.unwrap_or_default();
        let mut rest = agent.as_slice();
        while let [code, length, tail @ ..] = rest {
            let Some((value, after)) = tail.split_at_checked(usize::from(*length)) else {
                break;
            };
            if *code == 11 {
                let octets = <[u8; 4]>::try_from(value).unwrap_or_default();
                let named = Ipv4Addr::from(octets);
                return if named.is_unspecified() {
                    SERVER
                } else {
                    named
                };
            }
            rest = after;
        }
        SERVER
    }

    fn get(&self, code: u8) -> Option<Vec<u8>> {
        let found = self.all.iter().find(|(other, _)| *other == code);
        found.map(|(_, data)| data.clone())
    }
}
