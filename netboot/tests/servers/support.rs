//! What the network tests share: a machine, a file source, a TFTP client that says what it sees.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use netboot::{
    directory::{Architecture, BootMachine, BootProtocol, InMemory, Reservation},
    event::BootEvent,
    images::{ImageMetadata, UnpackedImage},
    mac::MacAddr,
    source::{FileContent, FileSource, SourceError},
};
use tokio::net::UdpSocket;

pub(crate) const MAC: MacAddr = MacAddr::new([0x52, 0x54, 0, 0x77, 0, 0x11]);
/// Every wait of these tests ends by then.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn clock() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

pub(crate) fn machine(ipv4: Ipv4Addr) -> BootMachine {
    BootMachine {
        name: "node-1".into(),
        leases: vec![Reservation {
            mac: MAC,
            ipv4,
            subnet_mask: Ipv4Addr::new(255, 255, 255, 0),
            gateway: None,
            dns: vec![],
            mtu: None,
        }],
        architecture: Architecture::Amd64,
        protocol: BootProtocol::Pxe,
        netboot: Some(Arc::new(UnpackedImage {
            digest: "sha256:00".into(),
            root: PathBuf::from("/nowhere"),
            metadata: ImageMetadata {
                dhcp_boot_image_name: Some("shimx64.efi".into()),
                http_boot_path: None,
            },
            disk: None,
        })),
        install: None,
        context: Arc::new(serde_json::Value::Null),
    }
}

/// Files by path, the same for every peer.
#[derive(Debug, Default)]
pub(crate) struct Files(pub(crate) HashMap<String, FileContent>);

impl Files {
    pub(crate) fn with(mut self, path: &str, bytes: &[u8]) -> Self {
        self.0
            .insert(path.into(), FileContent::Bytes(bytes.to_vec().into()));
        self
    }
}

#[async_trait::async_trait]
impl FileSource for Files {
    async fn open(&self, _peer: Ipv4Addr, path: &str) -> Result<FileContent, SourceError> {
        let path = path.trim_start_matches('/');
        self.0
            .get(path)
            .cloned()
            .ok_or_else(|| SourceError::NotFound { path: path.into() })
    }
}

/// Bytes without a short period, so that a misplaced block shows.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_be_bytes()[0]
        })
        .collect()
}

/// Waits until the recorded events satisfy `enough`.
pub(crate) async fn events_until(
    directory: &InMemory,
    enough: impl Fn(&[BootEvent]) -> bool,
) -> Vec<BootEvent> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    loop {
        let events = directory.events();
        if enough(&events) {
            return events;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "not in time: {events:?}"
        );
        tick.tick().await;
    }
}

/// RRQ in octet mode with options `name, value, …`.
pub(crate) fn rrq(path: &str, options: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0, 1];
    for text in [path, "octet"].iter().chain(options) {
        bytes.extend(text.bytes());
        bytes.push(0);
    }
    bytes
}

pub(crate) async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let received = tokio::time::timeout(PATIENCE, socket.recv_from(&mut buffer)).await;
    let (length, from) = received.expect("an answer in time").expect("receives");
    buffer.truncate(length);
    (buffer, from)
}

/// Reads a whole file, acknowledging every `window` blocks; gives the bytes and the server's port.
pub(crate) async fn fetch(
    socket: &UdpSocket,
    server: SocketAddr,
    path: &str,
    blksize: usize,
    window: usize,
) -> Result<(Vec<u8>, SocketAddr), String> {
    let (blksize_text, window_text) = (blksize.to_string(), window.to_string());
    let options = ["blksize", &blksize_text, "windowsize", &window_text];
    socket
        .send_to(&rrq(path, &options), server)
        .await
        .expect("sends");
    let (mut file, mut expected, mut in_window) = (Vec::new(), 1_u16, 0);
    loop {
        let (packet, tid) = receive(socket).await;
        match packet[1] {
            6 => {
                socket.send_to(&[0, 4, 0, 0], tid).await.expect("sends");
            }
            3 if packet[2..4] == expected.to_be_bytes() => {
                file.extend_from_slice(&packet[4..]);
                in_window += 1;
                let last = packet.len() < blksize + 4;
                if last || in_window == window {
                    in_window = 0;
                    socket
                        .send_to(&[0, 4, packet[2], packet[3]], tid)
                        .await
                        .expect("sends");
                }
                if last {
                    return Ok((file, tid));
                }
                expected = expected.wrapping_add(1);
            }
            3 => {}
            5 => return Err(String::from_utf8_lossy(&packet[4..packet.len() - 1]).into_owned()),
            other => return Err(format!("opcode {other}")),
        }
    }
}
