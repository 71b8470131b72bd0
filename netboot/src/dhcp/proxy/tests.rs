use dhcproto::{
    Decodable, Decoder,
    v4::{Message, MessageType, OptionCode},
};

use super::*;
use crate::{
    dhcp::{
        arch::NoBootFile,
        decide::{Role, decide},
        testing::{ADDRESS, Packet, SERVER, arrival, discover, machine, server},
    },
    directory::InMemory,
    event::{BootEventKind, ForeignMessage},
};

const SITE: [u8; 4] = [10, 77, 0, 2];
const ROGUE: [u8; 4] = [10, 77, 0, 66];

fn proxy(known: &[[u8; 4]]) -> Server {
    Server {
        role: Role::Proxy,
        known_servers: known.iter().map(|octets| (*octets).into()).collect(),
        ..server()
    }
}

fn on_67(server: &Server, packet: &Packet) -> Decision {
    let directory = InMemory::new(vec![machine()]);
    let request = BootRequest::parse(&packet.bytes()).expect("parses");
    decide(arrival(), server, &directory, &request)
}

fn on_4011(packet: &Packet) -> Decision {
    let directory = InMemory::new(vec![machine()]);
    let request = BootRequest::parse(&packet.bytes()).expect("parses");
    decide_on_proxy_port(arrival(), &proxy(&[]), &directory, &request)
}

fn names(decision: &Decision) -> Vec<&'static str> {
    let events = decision.events.iter();
    events.map(|event| event.kind.name()).collect()
}

/// The reply, which must carry a boot file and nothing that is the site's server's to say.
fn boot_only(decision: &Decision, kind: MessageType) -> Message {
    let bytes = &decision.reply.as_ref().expect("answers").bytes;
    let message = Message::decode(&mut Decoder::new(bytes)).expect("decodes");
    assert_eq!(message.opts().msg_type(), Some(kind));
    assert!(message.yiaddr().is_unspecified());
    assert_eq!(message.siaddr(), SERVER);
    assert_eq!(message.fname(), Some(&b"shimx64.efi\0"[..]));
    for needed in [
        OptionCode::ClassIdentifier,
        OptionCode::VendorExtensions,
        OptionCode::ServerIdentifier,
        OptionCode::BootfileName,
        OptionCode::ClientMachineIdentifier,
    ] {
        assert!(message.opts().get(needed).is_some(), "{needed:?}");
    }
    for foreign in [
        OptionCode::AddressLeaseTime,
        OptionCode::SubnetMask,
        OptionCode::Router,
        OptionCode::DomainNameServer,
        OptionCode::Hostname,
        OptionCode::BroadcastAddr,
    ] {
        assert!(message.opts().get(foreign).is_none(), "{foreign:?}");
    }
    message
}

#[test]
fn firmware_is_offered_a_boot_file_without_an_address() {
    let decision = on_67(&proxy(&[]), &discover());
    boot_only(&decision, MessageType::Offer);
    assert_eq!(names(&decision), ["dhcpDiscover", "proxyAnswer"]);
    let to = decision.reply.map(|reply| reply.to.to_string());
    assert_eq!(to.as_deref(), Some("255.255.255.255:68"));
}

#[test]
fn firmware_that_asks_again_on_port_4011_is_answered_where_it_asked_from() {
    for kind in [3, 8] {
        let mut packet = discover().set(53, &[kind]).at(12, &ADDRESS.octets());
        if kind == 3 {
            packet = packet.set(54, &SITE);
        }
        let decision = on_4011(&packet);
        let ack = boot_only(&decision, MessageType::Ack);
        assert_eq!(ack.ciaddr(), ADDRESS);
        assert_eq!(names(&decision), ["proxyAnswer"]);
        assert_eq!(decision.reply.expect("answers").to, arrival().peer);
    }
}

#[test]
fn everybody_else_is_left_to_the_sites_server() {
    let stranger = [2, 0, 0, 0, 0, 9];
    for packet in [
        discover().set(60, b"udhcp 1.35"),
        discover().unset(60),
        discover().at(28, &stranger),
        discover().set(53, &[8]).at(12, &ADDRESS.octets()),
        Packet::new(3).set(50, &ADDRESS.octets()).set(54, &SITE),
        Packet::new(3).set(50, &[10, 77, 0, 99]),
        Packet::new(3).at(12, &ADDRESS.octets()),
        Packet::new(4).set(50, &ADDRESS.octets()),
        Packet::new(7).at(12, &ADDRESS.octets()),
    ] {
        assert_eq!(on_67(&proxy(&[]), &packet).reply, None, "{packet:?}");
    }
    for packet in [
        discover(),
        Packet::new(3).at(12, &ADDRESS.octets()),
        discover().set(53, &[3]).at(28, &stranger),
        discover().set(53, &[4]),
    ] {
        assert_eq!(on_4011(&packet).reply, None, "{packet:?}");
    }
}

#[test]
fn why_firmware_got_nothing_is_told() {
    let bios = discover().set(93, &[0, 0]);
    let decision = on_67(&proxy(&[]), &bios.set(60, b"PXEClient:Arch:00000"));
    assert_eq!(decision.reply, None);
    assert_eq!(
        decision.events[1].kind,
        BootEventKind::ProxySilence {
            no_boot_file: NoBootFile::LegacyBios
        }
    );
}

#[test]
fn the_address_that_the_site_gives_is_told_beside_the_reserved_one() {
    let other = [10, 77, 0, 50];
    let packet = discover().set(53, &[3]).set(50, &other).set(54, &SITE);
    for known in [&[][..], &[SITE]] {
        let kinds: Vec<_> = on_67(&proxy(known), &packet).events;
        assert_eq!(
            kinds[0].kind,
            BootEventKind::SiteLease {
                server: SITE.into(),
                address: other.into(),
                reserved: ADDRESS,
            }
        );
    }
    let rogue = packet.set(54, &ROGUE);
    let decision = on_67(&proxy(&[SITE]), &rogue);
    assert_eq!(
        decision.events[0].kind,
        BootEventKind::ForeignServer {
            server: ROGUE.into(),
            sent: ForeignMessage::Request,
            address: Some(other.into()),
        }
    );
}
