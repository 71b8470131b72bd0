//! The TFTP server on the loopback interface, asked the way firmware, shim and GRUB ask.

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
};

use netboot::{
    directory::InMemory,
    event::BootEventKind,
    metrics::TftpMetrics,
    source::FileContent,
    tftp::server::{TftpConfig, TftpServer},
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{net::UdpSocket, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::support::{Files, clock, events_until, fetch, machine, noise, receive, rrq};

struct Running {
    address: SocketAddr,
    directory: Arc<InMemory>,
    metrics: Registry,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

fn start(files: Files, adjust: impl FnOnce(&mut TftpConfig)) -> Running {
    let directory = Arc::new(InMemory::new(vec![machine(Ipv4Addr::LOCALHOST)]));
    let mut config = TftpConfig::new(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), clock);
    adjust(&mut config);
    let (metrics, mut registry) = (TftpMetrics::default(), Registry::with_prefix("metalman"));
    metrics.register(&mut registry);
    let server = TftpServer::bind(config, metrics).expect("binds");
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    let address = server.local_addr().expect("is bound");
    tasks.spawn(server.run(Arc::clone(&directory) as _, Arc::new(files), stop.clone()));
    Running {
        address,
        directory,
        metrics: registry,
        stop,
        tasks,
    }
}

async fn client() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.expect("binds")
}

#[tokio::test]
async fn edk2_probes_the_size_aborts_and_reads_from_the_same_port() {
    let shim = noise(100_000);
    let mut server = start(Files::default().with("shimx64.efi", &shim), |_| {});
    let socket = client().await;
    let options = ["tsize", "0", "blksize", "1468", "windowsize", "4"];
    socket
        .send_to(&rrq("shimx64.efi", &options), server.address)
        .await
        .expect("sends");
    let (oack, tid) = receive(&socket).await;
    assert_eq!(
        oack,
        b"\0\x06tsize\x00100000\0blksize\x001468\0windowsize\x004\0"
    );
    assert_ne!(tid, server.address, "a port of its own");
    let abort = b"\0\x05\0\x08User aborted the transfer\0";
    socket.send_to(abort, tid).await.expect("sends");
    let (file, second) = fetch(&socket, server.address, "shimx64.efi", 1468, 4)
        .await
        .expect("reads");
    assert_eq!(file, shim);
    assert_ne!(second, tid);

    let events = events_until(&server.directory, |events| !events.is_empty()).await;
    assert_eq!(events.len(), 1, "the probe is no event: {events:?}");
    assert_eq!(events[0].machine.as_deref(), Some("node-1"));
    let BootEventKind::TftpDone {
        file,
        bytes,
        blksize,
        windowsize,
        ..
    } = &events[0].kind
    else {
        panic!("wants a finished transfer: {events:?}")
    };
    assert_eq!((file.as_str(), *bytes), ("shimx64.efi", 100_000));
    assert_eq!((*blksize, *windowsize), (1468, 4));
    server.stop.cancel();
    server.tasks.join_next().await;
    let mut text = String::new();
    encode(&mut text, &server.metrics).expect("encodes");
    assert!(
        text.contains("metalman_tftp_transfers_total{outcome=\"done\"} 1\n"),
        "{text}"
    );
    assert!(
        text.contains("metalman_tftp_transfers_total{outcome=\"probed\"} 1\n"),
        "{text}"
    );
    assert!(text.contains("metalman_tftp_active 0\n"), "{text}");
}

#[tokio::test]
async fn a_file_on_disk_arrives_whole_with_any_block_size_and_window() {
    let bytes = noise(600_000);
    let mut file = tempfile::NamedTempFile::new().expect("creates");
    file.write_all(&bytes).expect("writes");
    let mut files = Files::default();
    let content = FileContent::File {
        path: file.path().into(),
        length: 600_000,
    };
    files.0.insert("grub/initrd".into(), content);
    let server = start(files, |_| {});
    for (blksize, window) in [(512, 4), (1024, 1), (1468, 64), (1432, 16), (8, 64)] {
        let socket = client().await;
        let path = "//grub/initrd";
        let (got, _) = fetch(&socket, server.address, path, blksize, window)
            .await
            .expect("reads");
        assert!(got == bytes, "{blksize} {window}");
    }
}

#[tokio::test]
async fn what_cannot_be_served_is_answered_at_once_with_an_error() {
    let server = start(Files::default(), |_| {});
    for (request, want) in [
        (
            rrq("revocations_sku.efi", &["blksize", "512"]),
            (1, "no file \"revocations_sku.efi\""),
        ),
        (
            b"\0\x01f\0netascii\0".to_vec(),
            (4, "only octet mode is served, netascii is not"),
        ),
        (
            b"\0\x02f\0octet\0".to_vec(),
            (2, "this server is read-only"),
        ),
        (b"\0\x01f\0octet".to_vec(), (4, "malformed request")),
    ] {
        let socket = client().await;
        socket
            .send_to(&request, server.address)
            .await
            .expect("sends");
        let (answer, _) = receive(&socket).await;
        let (head, text) = answer.split_at(4);
        assert_eq!(head, [0, 5, 0, want.0]);
        assert_eq!(text, [want.1.as_bytes(), b"\0"].concat());
    }
    let events = events_until(&server.directory, |events| !events.is_empty()).await;
    assert_eq!(
        events[0].kind,
        BootEventKind::TftpFailed {
            file: "revocations_sku.efi".into(),
            reason: "no file \"revocations_sku.efi\"".into(),
        }
    );
}

#[tokio::test]
async fn a_client_that_starts_over_on_its_port_gets_the_new_file() {
    let files = Files::default()
        .with("a", &noise(50_000))
        .with("b", b"short");
    let server = start(files, |_| {});
    let socket = client().await;
    socket
        .send_to(&rrq("a", &[]), server.address)
        .await
        .expect("sends");
    let (first, tid) = receive(&socket).await;
    assert_eq!(first[..4], [0, 3, 0, 1]);
    socket.send_to(&[0, 4, 0, 1], tid).await.expect("sends");
    let (second, _) = receive(&socket).await;
    assert_eq!(second[..4], [0, 3, 0, 2]);
    socket
        .send_to(&rrq("b", &[]), server.address)
        .await
        .expect("sends");
    loop {
        let (packet, from) = receive(&socket).await;
        if from != tid {
            assert_eq!(packet, b"\0\x03\0\x01short");
            break;
        }
        assert!(
            matches!(packet[1], 3 | 5),
            "resend or farewell of the first transfer"
        );
    }
}

#[tokio::test]
async fn one_host_cannot_take_all_transfers() {
    let server = start(Files::default().with("a", &noise(5_000)), |config| {
        config.max_per_host = 2;
    });
    let (first, second, third) = (client().await, client().await, client().await);
    let mut tids = Vec::new();
    for socket in [&first, &second] {
        socket
            .send_to(&rrq("a", &["tsize", "0"]), server.address)
            .await
            .expect("sends");
        let (_, tid) = receive(socket).await;
        // A request that nobody follows would give way.
        socket.send_to(&[0, 4, 0, 0], tid).await.expect("sends");
        assert_eq!(receive(socket).await.0[..4], [0, 3, 0, 1]);
        tids.push(tid);
    }
    let refused = fetch(&third, server.address, "a", 512, 1).await;
    assert_eq!(
        refused.expect_err("is refused"),
        "too many transfers, try again"
    );
    first
        .send_to(b"\0\x05\0\0\0", tids[0])
        .await
        .expect("sends");
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    while fetch(&third, server.address, "a", 512, 1).await.is_err() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the place never came free"
        );
    }
}

#[tokio::test]
async fn requests_that_nobody_follows_keep_no_one_out() {
    let file = noise(200_000);
    let server = start(Files::default().with("a", &file), |config| {
        config.max_transfers = 20;
        config.max_per_host = 10;
    });
    let mut silent = Vec::new();
    for _ in 0..100 {
        let socket = client().await;
        let request = rrq("a", &["tsize", "0"]);
        socket
            .send_to(&request, server.address)
            .await
            .expect("sends");
        assert_eq!(receive(&socket).await.0[..2], [0, 6]);
        silent.push(socket);
    }
    let (got, _) = fetch(&client().await, server.address, "a", 1468, 16)
        .await
        .expect("reads");
    assert!(got == file);
}

/// Reads up to the block before the last one and leaves, with its port, when the last one has come.
async fn leave_after(blocks: u16, server: SocketAddr, path: &str) {
    let socket = client().await;
    let request = rrq(path, &["blksize", "512"]);
    socket.send_to(&request, server).await.expect("sends");
    let (oack, tid) = receive(&socket).await;
    assert_eq!(oack[..2], [0, 6]);
    for number in 0..blocks {
        let acknowledgement = [&[0, 4][..], &number.to_be_bytes()].concat();
        socket.send_to(&acknowledgement, tid).await.expect("sends");
        let (packet, _) = receive(&socket).await;
        assert_eq!(packet[..2], [0, 3]);
        assert_eq!(packet[2..4], (number + 1).to_be_bytes());
    }
}

#[tokio::test]
async fn a_client_that_closed_its_port_is_not_waited_for_and_disturbs_nobody() {
    let file = noise(5_000_000);
    let server = start(Files::default().with("a", &file), |config| {
        config.max_per_host = 64;
    });
    let address = server.address;
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        readers.spawn(async move { fetch(&client().await, address, "a", 512, 8).await });
    }
    let begun = tokio::time::Instant::now();
    for _ in 0..30 {
        leave_after(3, address, "a").await;
    }
    let failed = |kind: &BootEventKind| {
        let BootEventKind::TftpFailed { reason, .. } = kind else {
            return None;
        };
        Some(reason.clone())
    };
    let events = events_until(&server.directory, |events| {
        events.iter().filter(|e| failed(&e.kind).is_some()).count() >= 30
    })
    .await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    for reason in events.iter().filter_map(|event| failed(&event.kind)) {
        assert_eq!(
            reason,
            "the client closed its port after 1024 bytes (ICMP port unreachable)"
        );
    }
    while let Some(read) = readers.join_next().await {
        let (got, _) = read.expect("ends").expect("reads");
        assert!(got == file);
    }
}

#[tokio::test]
async fn a_file_whose_last_acknowledgement_is_lost_is_no_failure() {
    let server = start(Files::default().with("a", &noise(1200)), |_| {});
    leave_after(3, server.address, "a").await;
    let events = events_until(&server.directory, |events| !events.is_empty()).await;
    let BootEventKind::TftpUnacknowledged {
        bytes,
        unacknowledged_blocks,
        ..
    } = &events[0].kind
    else {
        panic!("wants a file that was sent whole: {events:?}")
    };
    assert_eq!((*bytes, *unacknowledged_blocks), (1200, 1));
}

#[tokio::test]
async fn a_stranger_who_knows_the_port_disturbs_no_transfer() {
    let server = start(Files::default().with("a", &noise(2_000)), |_| {});
    let (socket, stranger) = (client().await, client().await);
    socket
        .send_to(&rrq("a", &[]), server.address)
        .await
        .expect("sends");
    let (first, tid) = receive(&socket).await;
    assert_eq!(first[..4], [0, 3, 0, 1]);
    for packet in [&b"\0\x05\0\0stop\0"[..], &[0, 4, 0, 1], &noise(100)] {
        stranger.send_to(packet, tid).await.expect("sends");
    }
    socket.send_to(&[0, 4, 0, 1], tid).await.expect("sends");
    let (second, from) = receive(&socket).await;
    assert_eq!((&second[..4], from), (&[0, 3, 0, 2][..], tid));
}

#[tokio::test]
async fn a_repeated_request_is_answered_once() {
    let server = start(Files::default().with("a", &noise(2_000)), |_| {});
    let socket = client().await;
    for _ in 0..2 {
        socket
            .send_to(&rrq("a", &[]), server.address)
            .await
            .expect("sends");
    }
    let (first, tid) = receive(&socket).await;
    assert_eq!(first[..4], [0, 3, 0, 1]);
    socket.send_to(&[0, 4, 0, 1], tid).await.expect("sends");
    let (second, from) = receive(&socket).await;
    assert_eq!((&second[..4], from), (&[0, 3, 0, 2][..], tid));
}

#[tokio::test]
async fn noise_on_the_request_port_is_not_answered_and_does_no_harm() {
    let server = start(Files::default().with("a", b"alive"), |_| {});
    let socket = client().await;
    for length in 0..600 {
        let mut bytes = noise(length);
        // Neither RRQ nor WRQ, which would rightly be answered.
        if let Some(first) = bytes.first_mut() {
            *first = 7;
        }
        socket.send_to(&bytes, server.address).await.expect("sends");
    }
    let (file, _) = fetch(&socket, server.address, "a", 512, 1)
        .await
        .expect("reads");
    assert_eq!(file, b"alive");
}
