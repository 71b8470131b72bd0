//! TFTP: ways out of the root, write requests, nonsense, and clients that ask and fall silent.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use netboot::{
    metrics::TftpMetrics,
    tftp::server::{TftpConfig, TftpServer},
};
use tokio::{net::UdpSocket, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Images, KERNEL, Random, SECRET, images, packets, raise_file_limit, spellings};
use crate::support::{clock, fetch, receive, rrq};

const GOOD: Ipv4Addr = Ipv4Addr::LOCALHOST;
const HALF_OPEN: u8 = 250;

struct Running {
    address: SocketAddr,
    images: Images,
    _stop: tokio_util::sync::DropGuard,
    _tasks: JoinSet<()>,
}

fn start(machines: impl Iterator<Item = Ipv4Addr>) -> Running {
    let images = images(machines);
    let config = TftpConfig::new(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), clock);
    let server = TftpServer::bind(config, TftpMetrics::default()).expect("binds");
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    let address = server.local_addr().expect("is bound");
    let (directory, files) = (images.directory.clone(), images.files.clone());
    tasks.spawn(server.run(directory, files, stop.clone()));
    Running {
        address,
        images,
        _stop: stop.drop_guard(),
        _tasks: tasks,
    }
}

async fn client(address: Ipv4Addr) -> UdpSocket {
    UdpSocket::bind((address, 0)).await.expect("binds")
}

/// A good client reads the kernel, soon.
async fn is_served(server: &Running, from: Ipv4Addr) {
    let socket = client(from).await;
    let read = fetch(&socket, server.address, "vmlinuz", 512, 4);
    let read = tokio::time::timeout(Duration::from_secs(5), read).await;
    assert_eq!(read.expect("in time").expect("is served").0, KERNEL);
}

#[tokio::test]
async fn no_spelling_of_a_path_leaves_the_root() {
    let server = start([GOOD].into_iter());
    let (mut refused, mut silent) = (0, 0);
    for path in spellings::escapes() {
        let socket = client(GOOD).await;
        socket
            .send_to(&rrq(&path, &[]), server.address)
            .await
            .expect("sends");
        let mut buffer = [0; 600];
        let wait = Duration::from_secs(5);
        match tokio::time::timeout(wait, socket.recv_from(&mut buffer)).await {
            Ok(answer) => {
                let (length, _) = answer.expect("receives");
                let answer = &buffer[..length];
                assert_eq!(answer[1], 5, "{path:?} is answered with data");
                let text = String::from_utf8_lossy(answer);
                assert!(
                    !text.contains(SECRET) && !text.contains("root:"),
                    "{path:?}: {text}"
                );
                refused += 1;
            }
            Err(_) => silent += 1,
        }
    }
    assert_eq!((refused, silent), (412, 0), "each is answered at once");
    is_served(&server, GOOD).await;
    assert!(!server.images.directory.events().is_empty());
}

#[tokio::test]
async fn writes_and_nonsense_are_refused_and_readers_served() {
    let other = Ipv4Addr::new(127, 0, 0, 2);
    let server = start([GOOD, other].into_iter());
    let mut random = Random::new();
    let socket = client(GOOD).await;
    socket
        .send_to(b"\0\x02canary.bin\0octet\0", server.address)
        .await
        .expect("sends");
    let (answer, _) = receive(&socket).await;
    assert_eq!(answer[..4], [0, 5, 0, 2], "access violation");
    for sent in 0..packets(6_000) {
        let packet = nonsense(&mut random);
        socket.send_to(&packet, server.address).await.ok();
        if sent % 500 == 0 {
            is_served(&server, other).await;
        }
    }
}

fn nonsense(random: &mut Random) -> Vec<u8> {
    let long = "A".repeat(random.below(4000));
    let mut packet = match random.below(6) {
        0 => rrq("nothing", &["blksize", "999999999999999999999"]),
        1 => rrq(
            "vmlinuz",
            &[
                "blksize",
                "-1",
                "windowsize",
                "65535",
                "tsize",
                "18446744073709551616",
                "timeout",
                "0",
            ],
        ),
        2 => vec![0, 4, random.byte(), random.byte()],
        3 => {
            let mut bytes = vec![0, random.byte() % 9];
            let count = random.below(600);
            bytes.extend(random.bytes(count));
            bytes
        }
        4 => rrq(&long, &[]),
        _ => rrq("nothing", &["x", "y"].repeat(random.below(60))),
    };
    if random.below(3) == 0 {
        let place = random.below(packet.len());
        if random.below(2) == 0 {
            packet.truncate(place);
        } else {
            packet[place] = random.byte();
        }
    }
    packet
}

#[tokio::test]
async fn half_open_reads_of_one_host_leave_room_for_others() {
    raise_file_limit();
    let other = Ipv4Addr::new(127, 0, 0, 2);
    let server = start([GOOD, other].into_iter());
    let mut sockets = Vec::new();
    for _ in 0..1000 {
        let socket = client(GOOD).await;
        let ask = rrq("vmlinuz", &["tsize", "0"]);
        socket.send_to(&ask, server.address).await.expect("sends");
        sockets.push(socket);
    }
    for _ in 0..20 {
        is_served(&server, other).await;
    }
}

#[tokio::test]
async fn a_thousand_half_open_hosts_leave_room_for_readers() {
    raise_file_limit();
    let silent = (1..=4).flat_map(|c| (1..=HALF_OPEN).map(move |d| Ipv4Addr::new(127, 3, c, d)));
    let silent: Vec<_> = silent.collect();
    let server = start(std::iter::once(GOOD).chain(silent.iter().copied()));
    let mut sockets = Vec::new();
    for address in silent {
        let socket = client(address).await;
        let ask = rrq("vmlinuz", &["tsize", "0"]);
        socket.send_to(&ask, server.address).await.expect("sends");
        sockets.push(socket);
    }
    assert_eq!(sockets.len(), 1000);
    for _ in 0..20 {
        is_served(&server, GOOD).await;
    }
}
