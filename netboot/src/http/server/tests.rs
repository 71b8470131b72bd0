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

#[tokio::test]
async fn the_peer_address_and_nothing_else_is_the_identity() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    assert_eq!(bench.get("/vmlinuz").await.status, 200);
    let health = bench.ask(STRANGER, "GET /healthz HTTP/1.1\r\n\r\n").await;
    assert_eq!(health.status, 200);
    let disk = format!("GET /install/{TOKEN}/disk HTTP/1.1\r\n\r\n");
    let stolen = bench.ask(STRANGER, &disk).await;
    assert_eq!(stolen.status, 404, "a token alone is not enough");
    assert_eq!(bench.ask(PEER, &disk).await.status, 200);
}

#[tokio::test]
async fn no_header_changes_who_asks() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    for line in [
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-For: 127.0.0.1, 10.0.0.1",
        "Forwarded: for=127.0.0.1;by=127.0.0.1;host=node-1",
        "X-Real-IP: 127.0.0.1",
        "X-Client-IP: 127.0.0.1",
        "True-Client-IP: 127.0.0.1",
        "CF-Connecting-IP: 127.0.0.1",
        "X-Cluster-Client-IP: 127.0.0.1",
        "X-Original-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Host: node-1",
        "X-Original-URL: /vmlinuz",
        "X-Remote-User: node-1",
        "Via: 1.1 127.0.0.1",
        "Host: 127.0.0.1",
        "Host: node-1",
        "Authorization: Bearer dG9rZW4tb2YtdGVzdA",
        "Cookie: machine=node-1",
    ] {
        for target in [
            "/vmlinuz",
            "http://127.0.0.1/vmlinuz",
            "http://node-1:80//vmlinuz",
        ] {
            let request = format!("GET {target} HTTP/1.1\r\n{line}\r\n\r\n");
            let stranger = bench.ask(STRANGER, &request).await;
            assert_eq!(stranger.status, 404, "{target} {line}");
            let machine = bench.ask(PEER, &request).await;
            assert_eq!(
                (machine.status, machine.body.len()),
                (200, 1 << 20),
                "{target} {line}"
            );
            let disk = request.replace("/vmlinuz", &format!("/install/{TOKEN}/disk"));
            let disk = disk.replace("//install", "/install");
            assert_eq!(bench.ask(STRANGER, &disk).await.status, 404, "{disk}");
        }
    }
    // Nor does a header take an answer away from another request on the same connection.
    let mut stream = bench.connect(STRANGER).await;
    for _ in 0..2 {
        let request = "GET /vmlinuz HTTP/1.1\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n";
        assert_eq!(ask_on(&mut stream, request).await.status, 404);
    }
}

#[tokio::test]
async fn files_come_with_length_type_and_validators() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    for path in ["/vmlinuz", "//vmlinuz", "/./vmlinuz", "/vml%69nuz"] {
        let reply = bench.get(path).await;
        assert_eq!((reply.status, reply.body.len()), (200, 1 << 20), "{path}");
        assert_eq!(reply.header("content-length"), Some("1048576"));
        assert_eq!(reply.header("etag"), Some(format!("\"{DIGEST}\"").as_str()));
        assert_eq!(reply.header("accept-ranges"), Some("bytes"));
    }
    let efi = bench.get("//grubx64.efi").await;
    assert_eq!(efi.header("content-type"), Some("application/efi"));
    let modified = efi.header("last-modified").unwrap().to_owned();
    for condition in [
        format!("If-None-Match: \"{DIGEST}\""),
        format!("If-Modified-Since: {modified}"),
    ] {
        let request = format!("GET /vmlinuz HTTP/1.1\r\n{condition}\r\n\r\n");
        assert_eq!(bench.ask(PEER, &request).await.status, 304, "{condition}");
    }
    let head = bench.ask(PEER, "HEAD /vmlinuz HTTP/1.1\r\n\r\n").await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("1048576"))
    );
    assert!(head.body.is_empty());
}

#[tokio::test]
async fn ranges_give_exactly_those_bytes() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let ask = async |headers: &str| {
        bench
            .ask(PEER, &format!("GET /vmlinuz HTTP/1.1\r\n{headers}\r\n\r\n"))
            .await
    };
    let part = ask("Range: bytes=300-309").await;
    assert_eq!(
        (part.status, part.body),
        (206, (44..54).collect::<Vec<u8>>())
    );
    let tail = ask("Range: bytes=-3").await;
    assert_eq!((tail.status, tail.body), (206, vec![253, 254, 255]));
    let beyond = ask("Range: bytes=1048576-").await;
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (416, Some("bytes */1048576"))
    );
    let other = ask("Range: bytes=0-0\r\nIf-Range: \"sha256:other\"").await;
    assert_eq!((other.status, other.body.len()), (200, 1 << 20));
    let rest = ask(&format!("Range: bytes=1000000-\r\nIf-Range: \"{DIGEST}\"")).await;
    assert_eq!((rest.status, rest.body.len()), (206, 48_576));
    assert_eq!(
        rest.header("content-range"),
        Some("bytes 1000000-1048575/1048576")
    );
}

#[tokio::test]
async fn the_disk_of_an_installation_can_be_resumed() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let request = format!("GET /install/{TOKEN}/disk HTTP/1.1\r\nRange: bytes=4-\r\n\r\n");
    let reply = bench.ask(PEER, &request).await;
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (206, b"456789".as_slice())
    );
    assert_eq!(
        reply.header("etag"),
        Some(format!("\"{}\"", DIGEST.replace('a', "b")).as_str())
    );
    assert_eq!(bench.get("/install/wrong/disk").await.status, 404);
    let done = bench
        .event(|kind| matches!(kind, BootEventKind::HttpDone { .. }))
        .await;
    let BootEventKind::HttpDone {
        file,
        bytes,
        status,
        ..
    } = done
    else {
        unreachable!()
    };
    assert_eq!(
        (file.as_str(), bytes, status),
        ("install/disk.img.zst", 6, 206)
    );
}

#[tokio::test]
async fn nothing_outside_the_image_is_served() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    for path in [
        "/../secret",
        "/grub/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/leak",
        "/grub",
        "/",
        "/vmlinuz/x",
        "/grub/grub.cfg.j2",
        "/cloud-init/user-data",
    ] {
        let reply = bench.get(path).await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.header("content-length").is_some());
    }
    let posted = bench
        .ask(PEER, "POST /vmlinuz HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(
        (posted.status, posted.header("allow")),
        (405, Some("GET, HEAD"))
    );
}

#[tokio::test]
async fn grub_cfg_is_rendered_and_the_decision_recorded() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let reply = bench.get("/grub/grub.cfg").await;
    assert_eq!(reply.status, 200);
    assert!(String::from_utf8(reply.body).unwrap().contains(TOKEN));
    let rendered = bench
        .event(|kind| matches!(kind, BootEventKind::Rendered { .. }))
        .await;
    let BootEventKind::Rendered {
        decision, sha256, ..
    } = rendered
    else {
        unreachable!()
    };
    assert_eq!(decision, BootDecision::Install);
    assert!(reply.head.contains(&sha256));
}

#[tokio::test]
async fn a_broken_template_is_recorded_and_grub_is_sent_to_the_disk_with_the_reason() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let template = bench.images.path().join("disk/grub/grub.cfg.j2");
    std::fs::write(template, "a\n{{ machine.nope | grub }}\n").unwrap();
    let reply = bench.get("/grub/grub.cfg").await;
    assert_eq!(reply.status, 200);
    let text = String::from_utf8(reply.body).unwrap();
    let first = text.lines().nth(1).unwrap();
    assert!(first.contains("grub/grub.cfg.j2 line 2"), "{text}");
    assert!(text.contains("chainloader"), "{text}");
    // The machine holds a token; what is broken never installs.
    assert!(!text.contains(TOKEN) && !text.contains("vmlinuz"), "{text}");
    let failed = bench
        .event(|kind| matches!(kind, BootEventKind::RenderFailed { .. }))
        .await;
    let BootEventKind::RenderFailed {
        template,
        line,
        reason,
    } = failed
    else {
        unreachable!()
    };
    assert_eq!((template.as_str(), line), ("grub/grub.cfg.j2", Some(2)));
    assert!(reason.contains("machine.nope"), "{reason}");
    let rendered = bench
        .event(|kind| matches!(kind, BootEventKind::Rendered { .. }))
        .await;
    let BootEventKind::Rendered { decision, .. } = rendered else {
        unreachable!()
    };
    assert_eq!(decision, BootDecision::LocalDisk);
}

#[tokio::test]
async fn a_broken_template_of_another_file_answers_500() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    for (name, source) in [
        ("ipxe.cfg", "{{ machine.nope | grub }}"),
        ("other.cfg", "{% if %}"),
        ("plain.txt", "{{ machine.name }}"),
    ] {
        let template = bench.images.path().join(format!("disk/{name}.j2"));
        std::fs::write(template, source).unwrap();
    }
    for name in ["ipxe.cfg", "other.cfg", "plain.txt"] {
        let reply = bench.get(&format!("/{name}")).await;
        assert_eq!(reply.status, 500, "{name}");
        let text = String::from_utf8(reply.body).unwrap();
        assert!(text.contains(&format!("{name}.j2 line 1")), "{text}");
    }
}

#[tokio::test]
async fn an_image_under_way_means_try_again() {
    let bench = bench(HttpLimits::default(), |machine| machine.netboot = None).await;
    let reply = bench.get("/vmlinuz").await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("5"))
    );
}

#[tokio::test]
async fn only_http_boot_gets_dummy_revocations() {
    let pxe = bench(HttpLimits::default(), |_| {}).await;
    assert_eq!(pxe.get("/revocations_sku.efi").await.status, 404);
    let http = bench(HttpLimits::default(), |machine| {
        machine.protocol = BootProtocol::Http;
    })
    .await;
    for name in [
        "revocations.efi",
        "revocations_sku.efi",
        "revocations_sbat.efi",
    ] {
        let reply = http.get(&format!("/{name}")).await;
        assert_eq!(reply.status, 200);
        assert!(!reply.body.is_empty());
    }
    assert_eq!(http.get("/other.efi").await.status, 404);
}

#[tokio::test]
async fn header_names_are_written_as_grub_looks_for_them() {
    // GRUB 2.06 compares byte for byte; without a length it cannot load a kernel.
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let head = bench.get("/vmlinuz").await.head;
    assert!(head.contains("\r\nContent-Length: "), "{head}");
}

#[tokio::test]
async fn one_connection_serves_several_requests() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let mut stream = bench.connect(PEER).await;
    for _ in 0..3 {
        let reply = ask_on(&mut stream, "GET /grubx64.efi HTTP/1.1\r\n\r\n").await;
        assert_eq!(reply.body, b"MZ grub");
    }
}

#[tokio::test]
async fn after_the_clients_fin_the_connection_is_reset_not_left_waiting() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let mut stream = bench.connect(PEER).await;
    let port = stream.local_addr().unwrap().port();
    assert_eq!(
        ask_on(&mut stream, "GET /vmlinuz HTTP/1.1\r\n\r\n")
            .await
            .status,
        200
    );
    stream.shutdown().await.unwrap();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    drop(stream);
    // The next boot comes from the same port at once.
    let again = TcpSocket::new_v4().unwrap();
    again.set_reuseaddr(true).unwrap();
    again.bind((PEER, port).into()).unwrap();
    let mut stream = again.connect(bench.address).await.unwrap();
    assert_eq!(
        ask_on(&mut stream, "GET /grubx64.efi HTTP/1.1\r\n\r\n")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_client_that_asked_for_close_gets_everything() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let mut stream = bench.connect(PEER).await;
    stream
        .write_all(b"GET /vmlinuz HTTP/1.1\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.ends_with(&[254, 255]) && bytes.len() > 1 << 20);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_ended() {
    let limits = HttpLimits {
        slow_window: Duration::from_millis(100),
        min_window_bytes: 64 << 20,
        ..HttpLimits::default()
    };
    let bench = bench(limits, |_| {}).await;
    let big = bench.images.path().join("disk/big");
    std::fs::File::create(big)
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let mut stream = bench.connect(PEER).await;
    stream
        .write_all(b"GET /big HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let done = bench
        .event(|kind| matches!(kind, BootEventKind::HttpDone { .. }))
        .await;
    let BootEventKind::HttpDone { bytes, .. } = done else {
        unreachable!()
    };
    assert!(bytes < 1 << 30, "{bytes}");
}

#[tokio::test]
async fn a_half_header_is_ended_by_time() {
    let limits = HttpLimits {
        header_read_timeout: Duration::from_millis(50),
        ..HttpLimits::default()
    };
    let bench = bench(limits, |_| {}).await;
    let mut stream = bench.connect(PEER).await;
    stream
        .write_all(b"GET /vmlinuz HTTP/1.1\r\nHost: x")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("200 OK"));
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let limits = HttpLimits {
        max_per_peer: 2,
        ..HttpLimits::default()
    };
    let bench = bench(limits, |_| {}).await;
    let request = "GET /grubx64.efi HTTP/1.1\r\n\r\n";
    let (mut first, mut second) = (bench.connect(PEER).await, bench.connect(PEER).await);
    assert_eq!(ask_on(&mut first, request).await.status, 200);
    assert_eq!(ask_on(&mut second, request).await.status, 200);
    let mut third = bench.connect(PEER).await;
    // The reset may already hit the write.
    third.write_all(request.as_bytes()).await.ok();
    assert!(third.read_u8().await.is_err());
    assert_eq!(
        bench
            .ask(STRANGER, "GET /healthz HTTP/1.1\r\n\r\n")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_the_server() {
    let mut bench = bench(HttpLimits::default(), |_| {}).await;
    let mut stream = bench.connect(PEER).await;
    assert_eq!(
        ask_on(&mut stream, "GET /grubx64.efi HTTP/1.1\r\n\r\n")
            .await
            .status,
        200
    );
    bench.shutdown.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(4), bench.server.join_next()).await;
    ended
        .expect("the server ends before its drain time")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn one_connection_carries_reports_and_files() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let mut stream = bench.connect(PEER).await;
    let report = "POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(ask_on(&mut stream, report).await.body, b"hello");
        let file = ask_on(&mut stream, "GET /vmlinuz HTTP/1.1\r\n\r\n").await;
        assert_eq!((file.status, file.body.len()), (200, 1 << 20));
        // From here on the general server has the connection; nothing else changes.
        assert_eq!(ask_on(&mut stream, chunked).await.body, b"abc");
    }
    assert_eq!(
        bench.ask(PEER, "POST /other HTTP/1.1\r\n\r\n").await.status,
        405
    );
    let large = "POST /echo HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n";
    assert_eq!(bench.ask(PEER, large).await.status, 413);
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let mut stream = bench.connect(PEER).await;
    let request = "GET /grubx64.efi HTTP/1.1\r\n\r\nGET /none HTTP/1.1\r\n\r\nGET /grubx64.efi HTTP/1.0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let statuses: Vec<_> = text
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| text[at + 9..at + 12].to_owned())
        .collect();
    assert_eq!(statuses, ["200", "404", "200"], "{text}");
    assert!(text.ends_with("Connection: close\r\n\r\nMZ grub"), "{text}");
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    assert_eq!(
        bench.ask(PEER, "\x16\x03\x01\x02\r\n\r\n").await.status,
        400
    );
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(17 << 10));
    assert_eq!(bench.ask(PEER, &long).await.status, 431);
    assert_eq!(bench.ask(PEER, "GET * HTTP/1.1\r\n\r\n").await.status, 400);
}

#[tokio::test]
async fn a_panic_costs_its_peer_no_place() {
    let limits = HttpLimits {
        max_per_peer: 1,
        ..HttpLimits::default()
    };
    let bench = bench(limits, |_| {}).await;
    for _ in 0..3 {
        let mut stream = bench.connect(PEER).await;
        stream
            .write_all(b"POST /panic HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.ok();
        assert!(bytes.is_empty());
        bench.until_no_connection().await;
    }
    assert_eq!(bench.get("/grubx64.efi").await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_is_told_from_one_that_was_served() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let big = bench.images.path().join("disk/big");
    std::fs::File::create(big)
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let mut stream = bench.connect(PEER).await;
    stream
        .write_all(b"GET /big HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    stream.read_exact(&mut [0; 4096]).await.unwrap();
    drop(stream);
    let left = bench
        .event(|kind| matches!(kind, BootEventKind::HttpDone { file, .. } if file == "big"))
        .await;
    let BootEventKind::HttpDone {
        bytes,
        expected,
        status,
        ..
    } = left
    else {
        unreachable!()
    };
    assert_eq!((expected, status), (1 << 30, 200));
    assert!(bytes > 0 && bytes < expected, "{bytes}");
    assert_eq!(bench.get("/vmlinuz").await.status, 200);
    let served = bench
        .event(|kind| matches!(kind, BootEventKind::HttpDone { file, .. } if file == "vmlinuz"))
        .await;
    let BootEventKind::HttpDone {
        bytes, expected, ..
    } = served
    else {
        unreachable!()
    };
    assert_eq!((bytes, expected), (1 << 20, 1 << 20));
}

#[tokio::test]
async fn silent_connections_give_way_to_new_ones() {
    let limits = HttpLimits {
        max_connections: 4,
        ..HttpLimits::default()
    };
    let bench = bench(limits, |_| {}).await;
    let mut silent = Vec::new();
    for last in 20..24 {
        let mut stream = bench.connect(Ipv4Addr::new(127, 0, 0, last)).await;
        // Answered once, so that it is known to be inside.
        let health = ask_on(&mut stream, "GET /healthz HTTP/1.1\r\n\r\n").await;
        assert_eq!(health.status, 200);
        silent.push(stream);
    }
    assert_eq!(bench.get("/vmlinuz").await.body.len(), 1 << 20);
    let mut first = silent.remove(0);
    assert_eq!(
        first.read(&mut [0]).await.unwrap_or(0),
        0,
        "the one silent longest"
    );
}

#[tokio::test]
async fn rendering_follows_the_machine_at_once() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let text = async || String::from_utf8(bench.get("/grub/grub.cfg").await.body).unwrap();
    for _ in 0..2 {
        assert!(text().await.contains(TOKEN));
    }
    let mut claimed = BootMachine::clone(&bench.directory.snapshot().machines()[0]);
    claimed.install.as_mut().unwrap().claimed = true;
    for claimed in [claimed.clone(), claimed] {
        bench.directory.replace(vec![claimed]);
        for _ in 0..2 {
            assert!(!text().await.contains(TOKEN));
        }
    }
}

#[tokio::test]
async fn slow_and_silent_clients_cost_others_nothing() {
    let limits = HttpLimits {
        max_connections: 200,
        ..HttpLimits::default()
    };
    let bench = bench(limits, |_| {}).await;
    let mut slow = Vec::new();
    for index in 0..400_u16 {
        let from = Ipv4Addr::new(127, 0, 1, u8::try_from(index % 20).unwrap());
        let mut stream = bench.connect(from).await;
        if index % 2 == 0 {
            // Some of these have been told to go by now.
            stream.write_all(b"GET /vmli").await.ok();
        }
        slow.push(stream);
        if index % 40 == 0 {
            assert_eq!(bench.get("/vmlinuz").await.body.len(), 1 << 20, "{index}");
            assert_eq!(bench.get("/grub/grub.cfg").await.status, 200, "{index}");
        }
    }
    assert!(bench.metrics.active.get() <= 201);
}

#[tokio::test]
async fn a_connection_that_waits_is_small() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let stream = bench.connect(PEER).await;
    let files = BootFiles::new(
        bench.directory.clone(),
        Arc::new(Renderer::new()),
        ServerContext {
            http_url: String::new(),
            address: PEER,
            port: 0,
        },
        clock,
    );
    let server = BootServer::new(
        bench.directory.clone(),
        Arc::new(files),
        Router::new(),
        HttpLimits::default(),
        HttpMetrics::default(),
    );
    let plain = Plain {
        stream,
        peer: bench.address,
        server: server.0,
        waiting: Arc::new(super::super::waiting::Waiting::new(
            tokio::time::Instant::now(),
        )),
        stop: CancellationToken::new(),
    };
    let size = std::mem::size_of_val(&plain.run());
    assert!(size < 1500, "{size} bytes");
}
