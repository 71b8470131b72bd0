//! HTTP: ways out of the root, nonsense, and clients that say little for long.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use netboot::{
    http::{BootServer, HttpLimits},
    metrics::HttpMetrics,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Images, KERNEL, Random, SECRET, images, packets, raise_file_limit, spellings};

const GOOD: Ipv4Addr = Ipv4Addr::LOCALHOST;

struct Running {
    address: SocketAddr,
    _images: Images,
    _stop: DropGuard,
    _tasks: JoinSet<()>,
}

async fn start(machines: impl Iterator<Item = Ipv4Addr>) -> Running {
    let images = images(machines);
    let listener = TcpListener::bind((GOOD, 0)).await.expect("binds");
    let address = listener.local_addr().expect("is bound");
    let server = BootServer::new(
        images.directory.clone(),
        images.files.clone(),
        axum::Router::new(),
        HttpLimits::default(),
        HttpMetrics::default(),
    );
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(server.run(listener, stop.clone()));
    Running {
        address,
        _images: images,
        _stop: stop.drop_guard(),
        _tasks: tasks,
    }
}

impl Running {
    async fn connect(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("opens");
        socket.bind((from, 0).into()).expect("binds");
        socket.connect(self.address).await.expect("connects")
    }

    /// Sends these bytes, says that no more will come, and reads as far as the server lets us.
    async fn pour(&self, from: Ipv4Addr, request: &[u8]) -> Vec<u8> {
        self.talk(from, request, true).await
    }

    /// Sends a request with `Connection: close` and reads the answer.
    async fn ask(&self, from: Ipv4Addr, request: &[u8]) -> Vec<u8> {
        self.talk(from, request, false).await
    }

    async fn talk(&self, from: Ipv4Addr, request: &[u8], closes: bool) -> Vec<u8> {
        let mut stream = self.connect(from).await;
        let mut answer = Vec::new();
        let talk = async {
            // A refusal may come before all was sent.
            stream.write_all(request).await.ok();
            if closes {
                stream.shutdown().await.ok();
            }
            stream.read_to_end(&mut answer).await.ok();
        };
        let done = tokio::time::timeout(Duration::from_secs(10), talk).await;
        assert!(
            done.is_ok(),
            "neither an answer nor an end: {:?}",
            String::from_utf8_lossy(request)
        );
        answer
    }

    /// A good client reads the kernel, soon.
    async fn serves(&self, from: Ipv4Addr) {
        let request = b"GET /vmlinuz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = tokio::time::timeout(Duration::from_secs(5), self.ask(from, request)).await;
        let answer = answer.expect("in time");
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        assert!(answer.ends_with(KERNEL));
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_leaves_the_root() {
    let server = start([GOOD].into_iter()).await;
    for path in spellings::escapes() {
        let encoded: Vec<String> = path.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let encoded = encoded.concat();
        for path in [format!("/{path}"), path, format!("/{encoded}")] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let answer = server.ask(GOOD, request.as_bytes()).await;
            let text = String::from_utf8_lossy(&answer);
            let status = text.get(9..12).unwrap_or_default();
            assert!(matches!(status, "400" | "404"), "{path:?}: {text}");
            assert!(
                !text.contains(SECRET) && !text.contains("root:"),
                "{path:?}: {text}"
            );
        }
    }
    server.serves(GOOD).await;
}

#[tokio::test]
async fn nonsense_is_refused_and_readers_served() {
    let server = start([GOOD].into_iter()).await;
    let mut random = Random::new();
    for sent in 0..packets(2_000).min(100_000) {
        let request = nonsense(&mut random);
        let answer = server.pour(GOOD, &request).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains(SECRET), "{text}");
        if sent % 200 == 0 {
            server.serves(GOOD).await;
        }
    }
}

fn nonsense(random: &mut Random) -> Vec<u8> {
    let long = "a".repeat(random.below(100_000));
    let noise = random.bytes(40);
    let noise = String::from_utf8_lossy(&noise);
    let mut request = match random.below(8) {
        0 => random.bytes(300),
        1 => format!("GET /{long} HTTP/1.1\r\n\r\n").into_bytes(),
        2 => format!("GET / HTTP/1.1\r\nA: {long}\r\n\r\n").into_bytes(),
        3 => format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(random.below(2000))).into_bytes(),
        4 => b"POST /vmlinuz HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
        5 => b"GET /vmlinuz HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzz\r\n".to_vec(),
        6 => format!("GET /vmlinuz HTTP/1.1\r\nRange: bytes={noise}\r\nIf-Range: {noise}\r\n\r\n").into_bytes(),
        _ => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
    };
    if random.below(3) == 0 {
        let place = random.below(request.len());
        request[place] = random.byte();
    }
    request
}

#[tokio::test]
async fn clients_that_say_nothing_leave_room_for_readers() {
    raise_file_limit();
    let silent = (1..=20).map(|d| Ipv4Addr::new(127, 4, 0, d));
    let silent: Vec<_> = silent.collect();
    let server = start(std::iter::once(GOOD).chain(silent.iter().copied())).await;
    let mut open = Vec::new();
    for round in 0..1000 {
        let mut stream = server.connect(silent[round % silent.len()]).await;
        if round % 2 == 0 {
            // The beginning of a request that never ends.
            stream.write_all(b"G").await.ok();
        }
        open.push(stream);
    }
    for _ in 0..20 {
        server.serves(GOOD).await;
    }
}
