//! DHCP: mutated packets, and packets forged in the name of a machine.

use std::{net::Ipv4Addr, sync::Arc};

use jiff::Timestamp;
use netboot::{
    dhcp::server::{DhcpConfig, DhcpMode, DhcpServer},
    directory::InMemory,
    metrics::DhcpMetrics,
};
use tokio::net::UdpSocket;

use super::{Random, packets, resident_kib};
use crate::{
    link::{CLIENT, Link, SERVER},
    network::{config, message},
    support::{MAC, machine, receive},
};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 5);
/// Packets between two good clients.
const BATCH: u32 = 200;
/// More than the allocator and the event queue of the test take.
const GROWTH_KIB: u64 = 24 << 10;

/// Time stands still: a whole flood comes in one second.
fn standing_time() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

/// A relay that speaks to the server of a machine with [`ADDRESS`].
fn with_relay<C>(test: &str, client: impl FnOnce(UdpSocket, Arc<InMemory>) -> C + Send + 'static)
where
    C: Future<Output = ()>,
{
    let Some(link) = Link::new(test) else { return };
    let directory = Arc::new(InMemory::new(vec![machine(ADDRESS)]));
    let watched = Arc::clone(&directory);
    let mode = DhcpMode::Relay {
        bind: SERVER,
        server: SERVER,
    };
    link.run(
        move |stop| async move {
            let config = DhcpConfig {
                clock: standing_time,
                ..config(mode)
            };
            let server = DhcpServer::bind(config, DhcpMetrics::default()).expect("binds");
            server.run(directory, stop).await;
        },
        move || async move {
            let relay = UdpSocket::bind((CLIENT, 67)).await.expect("binds");
            relay.connect((SERVER, 67)).await.expect("connects");
            client(relay, watched).await;
        },
    );
}

/// Asks as the owner until the offer with this number comes; gives the address offered.
async fn offer(relay: &UdpSocket, xid: u32) -> Ipv4Addr {
    let options: &[(u8, &[u8])] = &[(53, &[1]), (93, &[0, 7])];
    let discover = message(MAC.octets(), xid, CLIENT, options);
    for _ in 0..5 {
        relay.send(&discover).await.expect("sends");
        let answer = async {
            loop {
                let (reply, _) = receive(relay).await;
                if reply[4..8] == xid.to_be_bytes() {
                    return Ipv4Addr::from(<[u8; 4]>::try_from(&reply[16..20]).expect("four"));
                }
            }
        };
        // The flood may have filled the server's buffer: a client asks again, as we do.
        let patience = std::time::Duration::from_secs(2);
        if let Ok(address) = tokio::time::timeout(patience, answer).await {
            return address;
        }
    }
    panic!("the owner gets no offer any more")
}

#[test]
fn mutated_packets_do_no_harm() {
    with_relay("dhcp-flood", |relay, _| async move {
        let mut random = Random::new();
        let before = resident_kib();
        for sent in 0..packets(20_000) {
            let mut packet = base(&mut random);
            for _ in 0..=random.below(4) {
                mutate(&mut packet, &mut random);
            }
            // A full buffer is the flood's own trouble.
            relay.send(&packet).await.ok();
            if sent % BATCH == 0 {
                assert_eq!(offer(&relay, 0xc000_0000 + sent).await, ADDRESS);
            }
        }
        let grown = resident_kib().saturating_sub(before);
        assert!(grown < GROWTH_KIB, "{grown} KiB more than before the flood");
    });
}

#[test]
fn nobody_can_take_an_address_from_its_owner() {
    with_relay("dhcp-forged", |relay, directory| async move {
        assert_eq!(offer(&relay, 1).await, ADDRESS);
        let before = resident_kib();
        let (own, id) = (ADDRESS.octets(), SERVER.octets());
        let mut xid = 1000;
        for kind in [4_u8, 7, 8] {
            for round in 0..packets(3_000) / 3 {
                xid += 1;
                let options: &[(u8, &[u8])] = match kind {
                    4 => &[(53, &[4]), (50, &own), (54, &id)],
                    7 => &[(53, &[7]), (54, &id)],
                    _ => &[(53, &[8])],
                };
                let mut forged = message(MAC.octets(), xid, CLIENT, options);
                if kind != 4 {
                    forged[12..16].copy_from_slice(&own);
                }
                relay.send(&forged).await.ok();
                if round % BATCH == 0 {
                    assert_eq!(offer(&relay, 0xd000_0000 + xid).await, ADDRESS);
                }
            }
            for again in 0..20 {
                let number = 0xe000_0000 + u32::from(kind) * 100 + again;
                assert_eq!(
                    offer(&relay, number).await,
                    ADDRESS,
                    "after message type {kind}"
                );
            }
        }
        let names: Vec<_> = directory.events().iter().map(|e| e.kind.name()).collect();
        assert!(names.len() <= InMemory::EVENTS);
        let grown = resident_kib().saturating_sub(before);
        assert!(grown < GROWTH_KIB, "{grown} KiB more than before");
    });
}

#[test]
fn a_flood_in_its_name_does_not_starve_the_owner_in_that_second() {
    with_relay("dhcp-starve", |relay, _| async move {
        let mut answered = 0;
        for sent in 0..packets(4_000) {
            // One id again and again, then a new one each time.
            let xid = if sent < packets(4_000) / 2 { 7 } else { sent };
            let forged = message(MAC.octets(), xid, CLIENT, &[(53, &[1]), (93, &[0, 7])]);
            relay.send(&forged).await.ok();
            if sent % BATCH == 0 {
                assert_eq!(offer(&relay, 0xa000_0000 + sent).await, ADDRESS);
                answered += 1;
            }
        }
        assert!(answered > 1);
    });
}

/// A good message of any kind, from the owner or one of 64 strangers.
fn base(random: &mut Random) -> Vec<u8> {
    let kind = *random.one(&[1_u8, 3, 8, 7, 4, 1, 3, 13]);
    let mut mac = MAC.octets();
    mac[5] = mac[5].wrapping_add(random.byte() % 64);
    let mut uuid = vec![0];
    uuid.extend([7; 16]);
    let options: &[(u8, &[u8])] = &[
        (53, &[kind]),
        (57, &[5, 192]),
        (55, &[1, 3, 6, 15, 66, 67]),
        (60, b"PXEClient:Arch:00007:UNDI:003016"),
        (61, &[1, 0x52, 0x54, 0, 0x77, 0, 0x11]),
        (12, b"node-1"),
        (82, &[1, 4, 1, 2, 3, 4]),
        (93, &[0, 7]),
        (94, &[1, 3, 16]),
        (97, &uuid),
        (50, &ADDRESS.octets()),
        (54, &SERVER.octets()),
    ];
    let xid = u32::from_be_bytes([
        random.byte() & 0x7f,
        random.byte(),
        random.byte(),
        random.byte(),
    ]);
    message(mac, xid, CLIENT, options)
}

fn mutate(packet: &mut Vec<u8>, random: &mut Random) {
    let length = packet.len();
    let options = length.min(240);
    let place = random.below(length);
    match random.below(14) {
        0 => packet.truncate(place),
        1 => set(packet, place, random.byte()),
        2 => set(packet, place, *random.one(&[0, 255, 127, 128, 1])),
        field @ 3..=5 => set(packet, field - 3, random.byte()),
        6 => set(packet, 236 + random.below(4), random.byte()),
        7 => set(packet, options + random.below(length - options), 255),
        8 => {
            let (count, value) = (random.below(1200), random.byte());
            packet.resize(length + count, value);
        }
        9 => drop(packet.pop()),
        10 => {
            for _ in 0..200 {
                packet.pop_if(|last| *last == 255);
                packet.extend([random.byte(), 0]);
            }
            packet.push(255);
        }
        11 => {
            packet.pop();
            for _ in 0..5 {
                packet.extend([random.byte(), 255]);
                packet.extend(random.bytes(255));
            }
            packet.push(255);
        }
        12 => {
            packet.pop();
            packet.extend([52, 1, 3, 255]);
            for place in 44..236 {
                set(packet, place, random.byte());
            }
        }
        _ => {
            let relays = [
                [0; 4],
                [255; 4],
                [127, 0, 0, 1],
                [224, 0, 0, 1],
                SERVER.octets(),
            ];
            for (offset, byte) in random.one(&relays).iter().enumerate() {
                set(packet, 24 + offset, *byte);
            }
        }
    }
}

fn set(packet: &mut [u8], place: usize, value: u8) {
    if let Some(byte) = packet.get_mut(place) {
        *byte = value;
    }
}
