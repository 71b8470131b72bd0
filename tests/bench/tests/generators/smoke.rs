//! The generators against our own servers on the loopback: they measure nothing here, they must
//! only tell what happened.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use metalman_bench::{
    dhcp::{self, Relay},
    link::Impairment,
    tftp::{client::Ask, half_open, load},
};
use netboot::{
    dhcp::{
        decide::Role,
        relay::RelayPolicy,
        server::{DhcpConfig, DhcpMode, DhcpServer},
    },
    directory::{Architecture, BootMachine, BootProtocol, InMemory, Reservation},
    mac::MacAddr,
    metrics::{DhcpMetrics, TftpMetrics},
    source::{FileContent, FileSource, SourceError},
    tftp::server::{TftpConfig, TftpServer},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[expect(
    clippy::disallowed_methods,
    reason = "the DHCP server counts requests per second"
)]
fn clock() -> Timestamp {
    Timestamp::now()
}

struct OneFile(Bytes);

#[async_trait::async_trait]
impl FileSource for OneFile {
    async fn open(&self, _peer: Ipv4Addr, path: &str) -> Result<FileContent, SourceError> {
        match path {
            "boot" => Ok(FileContent::Bytes(self.0.clone())),
            _ => Err(SourceError::NotFound { path: path.into() }),
        }
    }
}

fn machines(count: u64) -> Arc<InMemory> {
    let machine = |index: u64| BootMachine {
        name: format!("node-{index}"),
        leases: vec![Reservation {
            mac: MacAddr::new(dhcp::mac(index)),
            ipv4: Ipv4Addr::new(10, 0, 0, u8::try_from(index).expect("few")),
            subnet_mask: Ipv4Addr::new(255, 0, 0, 0),
            gateway: None,
            dns: vec![],
            mtu: None,
        }],
        architecture: Architecture::Amd64,
        protocol: BootProtocol::Pxe,
        netboot: None,
        install: None,
        context: Arc::new(serde_json::Value::Null),
    };
    Arc::new(InMemory::new((0..count).map(machine).collect()))
}

/// Runs a TFTP server of one file while `work` runs on a thread of its own.
async fn with_tftp<T: Send + 'static>(
    file: &[u8],
    work: impl FnOnce(SocketAddrV4) -> T + Send + 'static,
) -> T {
    let bind = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let server = TftpServer::bind(TftpConfig::new(bind, clock), TftpMetrics::default());
    let server = server.expect("binds");
    let SocketAddr::V4(address) = server.local_addr().expect("is bound") else {
        unreachable!("bound to IPv4")
    };
    let (stop, source) = (CancellationToken::new(), OneFile(file.to_vec().into()));
    let mut serving = JoinSet::new();
    serving.spawn(server.run(machines(0), Arc::new(source), stop.clone()));
    let result = tokio::task::spawn_blocking(move || work(address)).await;
    stop.cancel();
    serving.join_next().await.expect("ran").expect("ends");
    result.expect("works")
}

fn ask(file: &str, windowsize: u16) -> Ask {
    Ask {
        file: file.into(),
        blksize: 1468,
        windowsize,
        timeout: Duration::from_secs(1),
    }
}

fn plan(server: SocketAddrV4, file: &str, windowsize: u16) -> load::Plan {
    load::Plan {
        server,
        ask: ask(file, windowsize),
        clients: 5,
        source: None,
        rounds: 2,
        limit: Duration::from_secs(60),
        impairment: Impairment::default(),
        seed: 1,
    }
}

#[tokio::test]
async fn tftp_readers_get_every_byte_with_and_without_loss() {
    let file: Vec<u8> = (0..60_000_u32).map(|n| (n % 253) as u8).collect();
    for windowsize in [1, 16] {
        for loss_per_million in [0, 20_000] {
            let reference = file.clone();
            let report = with_tftp(&file, move |server| {
                let plan = load::Plan {
                    impairment: Impairment {
                        delay: Duration::from_micros(loss_per_million / 100),
                        loss_per_million,
                    },
                    ..plan(server, "boot", windowsize)
                };
                load::run(&plan, &reference).expect("runs")
            });
            let report = report.await;
            assert_eq!(
                (&report["done"], &report["failed"]),
                (&10.into(), &0.into()),
                "{report}"
            );
            assert_eq!(
                (&report["unfinished"], &report["options_refused"]),
                (&0.into(), &0.into())
            );
        }
    }
}

#[tokio::test]
async fn tftp_readers_tell_wrong_bytes_and_missing_files() {
    for (file, why) in [
        ("boot", "wrong bytes in block 1"),
        ("none", "error 1: no file \"none\""),
    ] {
        let report = with_tftp(b"what is served", move |server| {
            load::run(&plan(server, file, 1), b"what was meant").expect("runs")
        });
        let report = report.await;
        assert_eq!(
            (&report["done"], &report["why"][why]),
            (&0.into(), &10.into()),
            "{report}"
        );
    }
}

#[tokio::test]
async fn half_open_requests_leave_room_for_readers() {
    let file = vec![5; 100_000];
    let served = file.clone();
    let report = with_tftp(&served, move |server| {
        let silent = half_open::run(server, &ask("boot", 1), 300, None, Duration::from_millis(1));
        let (silent, _held) = silent.expect("runs");
        assert_eq!(silent["half_open"], 300);
        load::run(&plan(server, "boot", 4), &file).expect("runs")
    });
    let report = report.await;
    assert_eq!(report["done"], 10, "{report}");
}

#[tokio::test]
async fn dhcp_clients_are_bound_in_a_loop_and_in_a_storm() {
    let (server, relay) = (Ipv4Addr::new(127, 0, 67, 1), Ipv4Addr::new(127, 0, 67, 2));
    // Servers answer relays on port 67, whatever port they listen on.
    if let Err(error) = std::net::UdpSocket::bind((relay, dhcp::PORT)) {
        let wanted = ("METALMAN_TEST_STRICT".to_owned(), "1".to_owned());
        let strict = std::env::vars().any(|variable| variable == wanted);
        let reason = format!("dhcp generator: port 67 of {relay}: {error}");
        assert!(!strict, "{reason}");
        eprintln!("SKIPPED {reason}");
        return;
    }
    let port = {
        let free = std::net::UdpSocket::bind((server, 0)).expect("binds");
        free.local_addr().expect("is bound").port()
    };
    let config = DhcpConfig {
        mode: DhcpMode::Relay {
            bind: server,
            server,
        },
        port,
        serve_url: "http://127.0.0.1:1".into(),
        lease: Duration::from_hours(1),
        domain: None,
        ntp: vec![],
        role: Role::Authority,
        known_servers: vec![],
        relays: RelayPolicy::Any,
        clock,
    };
    let dhcp = DhcpServer::bind(config, DhcpMetrics::default()).expect("binds");
    let stop = CancellationToken::new();
    let (known, stopped) = (machines(20), stop.clone());
    let mut serving = JoinSet::new();
    serving.spawn(async move { dhcp.run(known, stopped).await });
    let relay = Relay {
        server: SocketAddrV4::new(server, port),
        relay,
        port: dhcp::PORT,
    };
    let reports = tokio::task::spawn_blocking(move || {
        let load = dhcp::load::Plan {
            relay,
            clients: 20,
            inflight: 4,
            time: Duration::from_millis(200),
            drop_after: Duration::from_secs(5),
        };
        let storm = dhcp::storm::Plan {
            relay,
            clients: 20,
            spread: Duration::ZERO,
            limit: Duration::from_secs(60),
        };
        (
            dhcp::load::run(load).expect("runs"),
            dhcp::storm::run(storm).expect("runs"),
            dhcp::first::run(relay, 3, Duration::from_secs(30)).expect("is answered"),
        )
    });
    let (load, storm, first) = reports.await.expect("works");
    stop.cancel();
    serving.join_next().await.expect("ran").expect("ends");
    assert!(
        load["done"].as_u64() > Some(0) && load["dropped"] == 0,
        "{load}"
    );
    assert_eq!(
        (&load["bound"]["moved"], &load["bound"]["shared"]),
        (&0.into(), &0.into())
    );
    assert_eq!(
        (&storm["bound"], &storm["gave_up"]),
        (&20.into(), &0.into()),
        "{storm}"
    );
    assert!(first["answered_at_us"].as_u64() > Some(0), "{first}");
}
