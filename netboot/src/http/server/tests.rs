//! One machine on the loopback, asked as machines ask: what all tests of the server share.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::routing::post;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::directory::{
    Architecture, BootMachine, BootProtocol, InMemory, InstallGrant, Reservation,
};
use crate::event::{BootDecision, BootEventKind};
use crate::images::{Compression, DiskArtifact, ImageMetadata, UnpackedImage};
use crate::render::{Renderer, ServerContext};

mod connections;
mod contents;
mod identity;

const PEER: Ipv4Addr = Ipv4Addr::LOCALHOST;
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const TOKEN: &str = "dG9rZW4tb2YtdGVzdA";
const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn clock() -> jiff::Timestamp {
    jiff::Timestamp::UNIX_EPOCH
}

struct Bench {
    address: SocketAddr,
    directory: Arc<InMemory>,
    metrics: HttpMetrics,
    images: tempfile::TempDir,
    shutdown: CancellationToken,
    server: JoinSet<()>,
}

/// A server on the loopback with one machine, whose netboot image is the returned folder.
async fn bench(limits: HttpLimits, change: impl FnOnce(&mut BootMachine)) -> Bench {
    let images = tempfile::tempdir().unwrap();
    let root = images.path().join("disk");
    std::fs::create_dir_all(root.join("grub")).unwrap();
    std::fs::write(
        root.join("vmlinuz"),
        (0..=255).collect::<Vec<u8>>().repeat(4096),
    )
    .unwrap();
    std::fs::write(root.join("grubx64.efi"), b"MZ grub").unwrap();
    std::fs::write(images.path().join("disk.img.zst"), b"0123456789").unwrap();
    std::fs::write(images.path().join("secret"), b"outside").unwrap();
    std::os::unix::fs::symlink("../secret", root.join("leak")).unwrap();
    let netboot = Arc::new(UnpackedImage {
        digest: DIGEST.to_owned(),
        root,
        metadata: ImageMetadata::default(),
        disk: None,
    });
    let install = InstallGrant {
        token: TOKEN.to_owned(),
        claimed: false,
        image: Arc::new(UnpackedImage {
            digest: DIGEST.replace('a', "b"),
            root: images.path().to_owned(),
            metadata: ImageMetadata::default(),
            disk: Some(DiskArtifact {
                path: images.path().join("disk.img.zst"),
                compression: Compression::Zstd,
                compressed_size: 10,
                raw_size: 99,
                raw_sha256: String::new(),
            }),
        }),
    };
    let mut machine = machine(netboot, install);
    change(&mut machine);
    let directory = Arc::new(InMemory::new(vec![machine]));
    let server = ServerContext {
        http_url: "http://127.0.0.1:8880".to_owned(),
        address: PEER,
        port: 8880,
    };
    let files = Arc::new(BootFiles::new(
        directory.clone(),
        Arc::new(Renderer::new()),
        server,
        clock,
    ));
    let listener = TcpListener::bind((PEER, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let metrics = HttpMetrics::default();
    let server = BootServer::new(
        directory.clone(),
        files,
        callbacks(),
        limits,
        metrics.clone(),
    );
    tasks.spawn(server.run(listener, shutdown.clone()));
    Bench {
        address,
        directory,
        metrics,
        images,
        shutdown,
        server: tasks,
    }
}

/// What an owner may add.
fn callbacks() -> Router {
    Router::new()
        .route("/echo", post(async |body: bytes::Bytes| body))
        .route("/panic", post(dies))
}

async fn dies() -> &'static str {
    panic!("as asked for")
}

fn machine(netboot: Arc<UnpackedImage>, install: InstallGrant) -> BootMachine {
    BootMachine {
        name: "node-1".to_owned(),
        leases: vec![Reservation {
            mac: "52:54:00:77:00:11".parse().unwrap(),
            ipv4: PEER,
            subnet_mask: Ipv4Addr::new(255, 0, 0, 0),
            gateway: None,
            dns: vec![],
            mtu: None,
        }],
        architecture: Architecture::Amd64,
        protocol: BootProtocol::Pxe,
        netboot: Some(netboot),
        install: Some(install),
        context: Arc::new(json!({})),
    }
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Bench {
    async fn connect(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    async fn ask(&self, from: Ipv4Addr, request: &str) -> Reply {
        let mut stream = self.connect(from).await;
        ask_on(&mut stream, request).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask(PEER, &format!("GET {path} HTTP/1.1\r\n\r\n"))
            .await
    }

    /// Waits until the server has forgotten every connection.
    async fn until_no_connection(&self) {
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        let none = async {
            while self.metrics.active.get() != 0 {
                tick.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), none)
            .await
            .expect("no connection");
    }

    /// Waits until an event matches; events are recorded after the client has its answer.
    async fn event(&self, matches: impl Fn(&BootEventKind) -> bool) -> BootEventKind {
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        let found = async {
            loop {
                let events = self.directory.events();
                if let Some(event) = events.into_iter().find(|event| matches(&event.kind)) {
                    assert_eq!(event.machine.as_deref(), Some("node-1"));
                    return event.kind;
                }
                tick.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found)
            .await
            .expect("the event")
    }
}

async fn ask_on(stream: &mut TcpStream, request: &str) -> Reply {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        assert!(
            stream.read_buf(&mut bytes).await.unwrap() > 0,
            "the answer ends in its header"
        );
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut reply = Reply {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        body: bytes[end..].to_vec(),
        head,
    };
    let length: usize = reply
        .header("content-length")
        .map_or(0, |text| text.parse().expect("a length"));
    if !request.starts_with("HEAD") && reply.status != 304 {
        while reply.body.len() < length {
            assert!(
                stream.read_buf(&mut reply.body).await.unwrap() > 0,
                "the body is short"
            );
        }
    }
    reply
}
