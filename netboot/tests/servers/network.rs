//! DHCP and TFTP across a veth pair between two network namespaces.
//!
//! Needs root. Without it the tests say so and pass, or fail when METALMAN_TEST_STRICT=1.

use std::{net::Ipv4Addr, process::Command, sync::Arc, time::Duration};

use netboot::{
    dhcp::{
        decide::Role,
        relay::RelayPolicy,
        server::{DhcpConfig, DhcpMode, DhcpServer},
    },
    directory::InMemory,
    event::{BootEventKind, ForeignMessage},
    metrics::{DhcpMetrics, TftpMetrics},
    tftp::server::{TftpConfig, TftpServer},
};
use tokio::task::JoinSet;

use crate::{
    link::{CLIENT, CLIENT_DEVICE, Link, OTHER_SERVER, SERVER, SERVER_DEVICE, dhcp_client},
    support::{Files, MAC, clock, events_until, machine, noise, receive},
};

pub(crate) fn config(mode: DhcpMode) -> DhcpConfig {
    DhcpConfig {
        mode,
        port: 67,
        serve_url: format!("http://{SERVER}:8880"),
        lease: Duration::from_hours(24),
        domain: None,
        ntp: vec![],
        role: Role::Authority,
        known_servers: vec![],
        relays: RelayPolicy::Any,
        clock,
    }
}

fn dhcp(mode: DhcpMode) -> DhcpServer {
    DhcpServer::bind(config(mode), DhcpMetrics::default()).expect("binds")
}

/// The fixed part, the given options and an end.
pub(crate) fn message(
    mac: [u8; 6],
    xid: u32,
    giaddr: Ipv4Addr,
    options: &[(u8, &[u8])],
) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[..3].copy_from_slice(&[1, 1, 6]);
    bytes[4..8].copy_from_slice(&xid.to_be_bytes());
    bytes[10] = 0x80;
    bytes[24..28].copy_from_slice(&giaddr.octets());
    bytes[28..34].copy_from_slice(&mac);
    bytes.extend([99, 130, 83, 99]);
    for (code, data) in options {
        bytes.push(*code);
        bytes.push(u8::try_from(data.len()).expect("short option"));
        bytes.extend_from_slice(data);
    }
    bytes.push(255);
    bytes
}

const PXE: &[u8] = b"PXEClient:Arch:00007:UNDI:003000";
const NO_RELAY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn in_both_modes(test: &str, mode: fn() -> DhcpMode) {
    let Some(link) = Link::new(test) else { return };
    let directory = Arc::new(InMemory::new(vec![machine(CLIENT)]));
    let watched = Arc::clone(&directory);
    link.run(
        move |stop| async move { dhcp(mode()).run(directory, stop).await },
        move || async move {
            let socket = dhcp_client(CLIENT_DEVICE);
            let to = (Ipv4Addr::BROADCAST, 67);
            let discover =
                |mac, xid| message(mac, xid, NO_RELAY, &[(53, &[1]), (93, &[0, 7]), (60, PXE)]);
            for length in 0..500 {
                socket.send_to(&noise(length), to).await.expect("sends");
            }
            socket
                .send_to(&discover([2, 0, 0, 0, 0, 9], 1), to)
                .await
                .expect("sends");
            socket
                .send_to(&discover(MAC.octets(), 2), to)
                .await
                .expect("sends");
            let (offer, from) = receive(&socket).await;
            assert_eq!(from.to_string(), format!("{SERVER}:67"));
            assert_eq!(
                offer[4..8],
                2_u32.to_be_bytes(),
                "the stranger is not answered"
            );
            assert_eq!(offer[16..20], CLIENT.octets());
            assert_eq!(offer[242], 2);
            let options: &[(u8, &[u8])] = &[
                (53, &[3]),
                (50, &CLIENT.octets()),
                (54, &SERVER.octets()),
                (60, PXE),
            ];
            let request = message(MAC.octets(), 3, NO_RELAY, options);
            socket.send_to(&request, to).await.expect("sends");
            let (ack, _) = receive(&socket).await;
            assert_eq!((ack[242], &ack[16..20]), (5, &CLIENT.octets()[..]));
            assert_eq!(ack[108..119], *b"shimx64.efi");
            let events = events_until(&watched, |events| events.len() >= 5).await;
            let names: Vec<_> = events.iter().map(|event| event.kind.name()).collect();
            let want = [
                "unknownMac",
                "dhcpDiscover",
                "dhcpOffer",
                "dhcpRequest",
                "dhcpAck",
            ];
            assert_eq!(names, want);
        },
    );
}

#[test]
fn a_broadcast_is_offered_and_acknowledged_on_a_named_interface() {
    in_both_modes("dhcp-named", || DhcpMode::Interface {
        name: SERVER_DEVICE.into(),
    });
}

#[test]
fn a_broadcast_is_offered_and_acknowledged_on_the_interface_of_an_address() {
    in_both_modes("dhcp-auto", || DhcpMode::AutoInterface { address: SERVER });
}

#[test]
fn a_relay_is_answered_and_a_broadcast_is_not() {
    let Some(link) = Link::new("dhcp-relay") else {
        return;
    };
    let directory = Arc::new(InMemory::new(vec![machine(Ipv4Addr::new(10, 9, 0, 5))]));
    let mode = DhcpMode::Relay {
        bind: SERVER,
        server: SERVER,
    };
    link.run(
        move |stop| async move { dhcp(mode).run(directory, stop).await },
        move || async move {
            let relay = tokio::net::UdpSocket::bind((CLIENT, 67))
                .await
                .expect("binds");
            let options: &[(u8, &[u8])] = &[(53, &[1]), (82, &[1, 2, b'p', b'1'])];
            let direct = message(MAC.octets(), 1, NO_RELAY, options);
            relay.send_to(&direct, (SERVER, 67)).await.expect("sends");
            let relayed = message(MAC.octets(), 2, CLIENT, options);
            relay.send_to(&relayed, (SERVER, 67)).await.expect("sends");
            let (offer, from) = receive(&relay).await;
            assert_eq!(from.to_string(), format!("{SERVER}:67"));
            assert_eq!(offer[4..8], 2_u32.to_be_bytes());
            assert_eq!(offer[16..20], [10, 9, 0, 5]);
            assert!(
                offer
                    .windows(6)
                    .any(|part| part == [82, 4, 1, 2, b'p', b'1'])
            );
        },
    );
}

#[test]
fn curl_reads_by_tftp_from_the_address_it_asked() {
    let Some(link) = Link::new("tftp-curl") else {
        return;
    };
    let kernel = noise(3_000_000);
    let directory = Arc::new(InMemory::new(vec![machine(CLIENT)]));
    let watched = Arc::clone(&directory);
    let files = Arc::new(Files::default().with("vmlinuz", &kernel));
    link.run(
        move |stop| async move {
            let config = TftpConfig::new("0.0.0.0:69".parse().expect("parses"), clock);
            let server = TftpServer::bind(config, TftpMetrics::default()).expect("binds");
            server.run(directory, files, stop).await;
        },
        move || async move {
            let mut downloads = JoinSet::new();
            for (address, blksize) in [(SERVER, "512"), (OTHER_SERVER, "1468")] {
                // curl connects its socket: an answer from another address would not reach it.
                let url = format!("tftp://{address}/vmlinuz");
                let arguments = ["-sS", "-m", "20", "--tftp-blksize", blksize];
                let curl = Command::new("curl")
                    .args(arguments)
                    .arg(url)
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::piped())
                    .spawn()
                    .expect("curl starts");
                downloads.spawn_blocking(move || curl.wait_with_output());
            }
            while let Some(done) = downloads.join_next().await {
                let output = done.expect("joins").expect("curl ends");
                assert!(output.status.success(), "{output:?}");
                assert!(output.stdout == kernel, "{} bytes", output.stdout.len());
            }
            let done = |kind: &BootEventKind| matches!(kind, BootEventKind::TftpDone { .. });
            events_until(&watched, |all| {
                all.iter().filter(|e| done(&e.kind)).count() == 2
            })
            .await;
        },
    );
}

/// A DHCP server's message to the client, broadcast as a rogue would.
fn rogue_offer(server: Ipv4Addr) -> Vec<u8> {
    let options: &[(u8, &[u8])] = &[(53, &[2]), (54, &server.octets())];
    let mut offer = message(MAC.octets(), 9, NO_RELAY, options);
    offer[0] = 2;
    offer[16..20].copy_from_slice(&[10, 77, 0, 50]);
    offer
}

fn foreign(events: &[netboot::event::BootEvent]) -> Vec<netboot::event::BootEvent> {
    let of_others =
        |e: &&netboot::event::BootEvent| matches!(e.kind, BootEventKind::ForeignServer { .. });
    events.iter().filter(of_others).cloned().collect()
}

#[test]
fn another_server_is_noticed_within_a_second_and_told_once() {
    let Some(link) = Link::new("dhcp-rogue") else {
        return;
    };
    let directory = Arc::new(InMemory::new(vec![machine(CLIENT)]));
    let watched = Arc::clone(&directory);
    let mode = DhcpMode::Interface {
        name: SERVER_DEVICE.into(),
    };
    link.run(
        move |stop| async move { dhcp(mode).run(directory, stop).await },
        move || async move {
            let socket = dhcp_client(CLIENT_DEVICE);
            let options: &[(u8, &[u8])] = &[(53, &[1]), (93, &[0, 7]), (60, PXE)];
            let discover = message(MAC.octets(), 1, NO_RELAY, options);
            let to = (Ipv4Addr::BROADCAST, 67);
            socket.send_to(&discover, to).await.expect("sends");
            receive(&socket).await;
            let rogue = Ipv4Addr::new(10, 77, 0, 66);
            let started = tokio::time::Instant::now();
            for _ in 0..50 {
                let offer = rogue_offer(rogue);
                let clients = (Ipv4Addr::BROADCAST, 68);
                socket.send_to(&offer, clients).await.expect("sends");
            }
            let events = events_until(&watched, |events| !foreign(events).is_empty()).await;
            assert!(started.elapsed() < Duration::from_secs(1));
            assert_eq!(foreign(&events)[0].machine.as_deref(), Some("node-1"));
            let want = BootEventKind::ForeignServer {
                server: rogue,
                sent: ForeignMessage::Offer,
                address: Some(Ipv4Addr::new(10, 77, 0, 50)),
            };
            assert_eq!(foreign(&events)[0].kind, want);
            // Our own answer, which the kernel loops back, is none of another server.
            socket.send_to(&discover, to).await.expect("sends");
            let events = events_until(&watched, |events| events.len() >= 5).await;
            assert_eq!(foreign(&events).len(), 1, "{events:?}");
        },
    );
}

#[test]
fn dnsmasq_on_the_segment_is_noticed() {
    let Some(link) = Link::new("dhcp-dnsmasq") else {
        return;
    };
    if Command::new("dnsmasq").arg("--version").output().is_err() {
        let strict = std::env::var_os("METALMAN_TEST_STRICT").is_some_and(|value| value == "1");
        assert!(!strict, "dhcp-dnsmasq: needs dnsmasq");
        eprintln!("SKIPPED dhcp-dnsmasq: needs dnsmasq (package dnsmasq-base)");
        return;
    }
    let directory = Arc::new(InMemory::new(vec![machine(CLIENT)]));
    let watched = Arc::clone(&directory);
    let mode = DhcpMode::Interface {
        name: SERVER_DEVICE.into(),
    };
    link.run(
        move |stop| async move { dhcp(mode).run(directory, stop).await },
        move || async move {
            // It serves the client's end of the link, where the client's broadcast reaches it too.
            let mut dnsmasq = Command::new("dnsmasq")
                .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0"])
                .args(["--user=root", "--pid-file=", "--leasefile-ro", "--no-ping"])
                .arg(format!("--interface={CLIENT_DEVICE}"))
                .arg("--dhcp-range=10.77.0.100,10.77.0.110,255.255.255.0,1h")
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("dnsmasq starts");
            let socket = dhcp_client(CLIENT_DEVICE);
            let discover = message(MAC.octets(), 1, NO_RELAY, &[(53, &[1])]);
            let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            while foreign(&watched.events()).is_empty() {
                assert!(tokio::time::Instant::now() < deadline, "not noticed");
                let to = (Ipv4Addr::BROADCAST, 67);
                socket.send_to(&discover, to).await.expect("sends");
                tick.tick().await;
            }
            dnsmasq.kill().expect("ends");
            dnsmasq.wait().expect("ends");
            let seen = foreign(&watched.events());
            let want = matches!(
                seen[0].kind,
                BootEventKind::ForeignServer {
                    server: CLIENT,
                    sent: ForeignMessage::Offer,
                    ..
                }
            );
            assert!(want, "{seen:?}");
        },
    );
}

#[test]
fn beside_another_server_only_the_boot_file_is_told() {
    let Some(link) = Link::new("dhcp-proxy") else {
        return;
    };
    let directory = Arc::new(InMemory::new(vec![machine(CLIENT)]));
    link.run(
        move |stop| async move {
            let config = DhcpConfig {
                role: Role::Proxy,
                ..config(DhcpMode::AutoInterface { address: SERVER })
            };
            let server = DhcpServer::bind(config, DhcpMetrics::default()).expect("binds");
            server.run(directory, stop).await;
        },
        move || async move {
            let socket = dhcp_client(CLIENT_DEVICE);
            let discover: &[(u8, &[u8])] = &[(53, &[1]), (93, &[0, 7]), (60, PXE)];
            let bytes = message(MAC.octets(), 1, NO_RELAY, discover);
            let to = (Ipv4Addr::BROADCAST, 67);
            socket.send_to(&bytes, to).await.expect("sends");
            let (offer, from) = receive(&socket).await;
            assert_eq!(from.to_string(), format!("{SERVER}:67"));
            assert_eq!((offer[242], &offer[16..20]), (2, &[0; 4][..]));
            assert_eq!(offer[108..119], *b"shimx64.efi");
            let request: &[(u8, &[u8])] = &[(53, &[3]), (93, &[0, 7]), (60, PXE)];
            let mut bytes = message(MAC.octets(), 2, NO_RELAY, request);
            bytes[12..16].copy_from_slice(&CLIENT.octets());
            socket.send_to(&bytes, (SERVER, 4011)).await.expect("sends");
            let (ack, from) = receive(&socket).await;
            assert_eq!(from.to_string(), format!("{SERVER}:4011"));
            assert_eq!((ack[242], &ack[20..24]), (5, &SERVER.octets()[..]));
            assert_eq!(ack[108..119], *b"shimx64.efi");
        },
    );
}
