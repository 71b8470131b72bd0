//! DHCP and TFTP across a veth pair between two network namespaces.
//!
//! Needs root. Without it the tests say so and pass, or fail when METALMAN_TEST_STRICT=1.

use std::{net::Ipv4Addr, process::Command, sync::Arc, time::Duration};

use netboot::{
    dhcp::{
        relay::RelayPolicy,
        server::{DhcpConfig, DhcpMode, DhcpServer},
    },
    directory::InMemory,
    event::BootEventKind,
    metrics::{DhcpMetrics, TftpMetrics},
    tftp::server::{TftpConfig, TftpServer},
};
use tokio::task::JoinSet;

use crate::{
    link::{CLIENT, CLIENT_DEVICE, Link, OTHER_SERVER, SERVER, SERVER_DEVICE, dhcp_client},
    support::{Files, MAC, clock, events_until, machine, noise, receive},
};

fn dhcp(mode: DhcpMode) -> DhcpServer {
    let config = DhcpConfig {
        mode,
        port: 67,
        serve_url: format!("http://{SERVER}:8880"),
        lease: Duration::from_hours(24),
        domain: None,
        relays: RelayPolicy::Any,
        clock,
    };
    DhcpServer::bind(config, DhcpMetrics::default()).expect("binds")
}

/// The fixed part, the given options and an end.
fn message(mac: [u8; 6], xid: u32, giaddr: Ipv4Addr, options: &[(u8, &[u8])]) -> Vec<u8> {
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
