use dhcproto::{
    Decodable, Decoder,
    v4::{DhcpOption, Message, MessageType, OptionCode},
};
use proptest::prelude::*;

use super::*;
use crate::{
    dhcp::{
        arch::NoBootFile,
        testing::{ADDRESS, MAC, Packet, SERVER, arrival, discover, machine, server},
    },
    directory::InMemory,
    event::ForeignMessage,
    mac::MacAddr,
};

const OTHER: [u8; 4] = [10, 77, 0, 99];

fn decided(packet: &Packet) -> Decision {
    let directory = InMemory::new(vec![machine()]);
    let request = BootRequest::parse(&packet.bytes()).expect("parses");
    decide(arrival(), &server(), &directory, &request)
}

fn message(decision: &Decision) -> Message {
    let bytes = &decision.reply.as_ref().expect("answered").bytes;
    Message::decode(&mut Decoder::new(bytes)).expect("decodes")
}

fn kinds(decision: &Decision) -> Vec<&'static str> {
    decision
        .events
        .iter()
        .map(|event| event.kind.name())
        .collect()
}

fn message_type(message: &Message) -> Option<MessageType> {
    message.opts().msg_type()
}

#[test]
fn a_discover_of_ours_is_offered_its_reservation_and_boot_file() {
    let decision = decided(&discover());
    let offer = message(&decision);
    assert_eq!(message_type(&offer), Some(MessageType::Offer));
    assert_eq!(offer.yiaddr(), ADDRESS);
    assert_eq!(kinds(&decision), ["dhcpDiscover", "dhcpOffer"]);
    assert_eq!(
        decision.events[1],
        BootEvent {
            machine: Some("node-1".into()),
            mac: Some(MAC),
            ip: Some(ADDRESS),
            at: Timestamp::UNIX_EPOCH,
            kind: BootEventKind::DhcpOffer {
                address: ADDRESS,
                boot_file: Some("shimx64.efi".into()),
                no_boot_file: None,
            },
        }
    );
}

#[test]
fn an_unknown_mac_meets_silence_and_an_event() {
    let decision = decided(&discover().at(28, &[2, 0, 0, 0, 0, 9]));
    assert_eq!(
        (decision.reply.as_ref(), decision.outcome),
        (None, "unknown_mac")
    );
    assert_eq!(kinds(&decision), ["unknownMac"]);
}

#[test]
fn every_way_of_asking_for_the_reserved_address_is_acknowledged() {
    let mine = ADDRESS.octets();
    for (what, packet) in [
        (
            "selecting",
            Packet::new(3).set(50, &mine).set(54, &SERVER.octets()),
        ),
        ("init-reboot", Packet::new(3).set(50, &mine)),
        ("renewing", Packet::new(3).at(12, &mine)),
        ("rebinding", Packet::new(3).at(12, &mine).at(10, &[0x80, 0])),
    ] {
        let decision = decided(&packet);
        let ack = message(&decision);
        assert_eq!(message_type(&ack), Some(MessageType::Ack), "{what}");
        assert_eq!(ack.yiaddr(), ADDRESS, "{what}");
        assert_eq!(kinds(&decision), ["dhcpRequest", "dhcpAck"], "{what}");
    }
}

#[test]
fn asking_for_another_address_is_refused_aloud() {
    for packet in [
        Packet::new(3).set(50, &OTHER).set(54, &SERVER.octets()),
        Packet::new(3).set(50, &OTHER),
        Packet::new(3).at(12, &OTHER),
    ] {
        let decision = decided(&packet);
        let nak = message(&decision);
        assert_eq!(message_type(&nak), Some(MessageType::Nak));
        assert_eq!(nak.yiaddr(), Ipv4Addr::UNSPECIFIED);
        assert_eq!(nak.opts().get(OptionCode::AddressLeaseTime), None);
        assert_eq!(kinds(&decision), ["dhcpRequest", "dhcpNak"]);
        let to = decision.reply.map(|reply| reply.to.to_string());
        assert_eq!(to.as_deref(), Some("255.255.255.255:68"));
    }
}

#[test]
fn a_request_to_another_server_meets_silence_and_names_it() {
    let decision = decided(&Packet::new(3).set(50, &ADDRESS.octets()).set(54, &OTHER));
    assert_eq!(decision.reply, None);
    assert_eq!(
        decision.events[0].kind,
        BootEventKind::ForeignServer {
            server: OTHER.into(),
            sent: ForeignMessage::Request,
            address: Some(ADDRESS),
        }
    );
}

#[test]
fn a_request_to_a_known_server_means_nothing() {
    let server = Server {
        known_servers: vec![OTHER.into()],
        ..server()
    };
    let packet = Packet::new(3).set(50, &ADDRESS.octets()).set(54, &OTHER);
    let request = BootRequest::parse(&packet.bytes()).expect("parses");
    let directory = InMemory::new(vec![machine()]);
    let decision = decide(arrival(), &server, &directory, &request);
    assert_eq!(decision, silence("known_server", vec![]));
}

#[test]
fn a_disputed_mac_or_address_is_not_served_and_both_machines_hear_of_it() {
    let mut twin = machine();
    twin.name = "node-2".into();
    twin.leases[0].mac = MacAddr::new([2, 0, 0, 0, 0, 2]);
    let directory = InMemory::new(vec![machine(), twin]);
    let request = BootRequest::parse(&discover().bytes()).expect("parses");
    let decision = decide(arrival(), &server(), &directory, &request);
    assert_eq!(
        (decision.reply.as_ref(), decision.outcome),
        (None, "disputed")
    );
    let told: Vec<_> = decision
        .events
        .iter()
        .map(|e| e.machine.as_deref())
        .collect();
    assert_eq!(told, [Some("node-1"), Some("node-2")]);
    assert_eq!(
        decision.events[0].kind,
        BootEventKind::AddressDisputed {
            disputed: "address 10.77.0.11".into(),
            machines: vec!["node-1".into(), "node-2".into()],
        }
    );
}

#[test]
fn at_a_flood_nothing_is_told_and_everything_is_answered() {
    let quiet = Arrival {
        tell: false,
        ..arrival()
    };
    let directory = InMemory::new(vec![machine()]);
    for packet in [
        discover(),
        Packet::new(3).set(50, &ADDRESS.octets()),
        Packet::new(3).set(50, &OTHER),
        Packet::new(8).at(12, &ADDRESS.octets()),
        Packet::new(4).set(50, &ADDRESS.octets()),
        discover().at(28, &[2, 0, 0, 0, 0, 9]),
    ] {
        let request = BootRequest::parse(&packet.bytes()).expect("parses");
        let told = decide(arrival(), &server(), &directory, &request);
        let untold = decide(quiet, &server(), &directory, &request);
        assert_eq!((untold.reply, untold.outcome), (told.reply, told.outcome));
        assert_eq!(untold.events, []);
    }
}

#[test]
fn where_a_client_is_and_who_it_says_it_is_are_recorded() {
    let packet = discover()
        .at(24, &[10, 1, 0, 1])
        .set(82, b"\x01\x06Eth1/7\x02\x02\x00\xff");
    let BootEventKind::DhcpDiscover { uuid, via, .. } = &decided(&packet).events[0].kind else {
        panic!("not a discover")
    };
    assert_eq!(
        uuid.as_deref(),
        Some("abababab-abab-abab-abab-abababababab")
    );
    let want = Via {
        relay: Some(Ipv4Addr::new(10, 1, 0, 1)),
        circuit_id: Some("Eth1/7".into()),
        remote_id: Some("00:ff".into()),
    };
    assert_eq!(via, &want);
    let stranger = decided(&packet.at(28, &[2, 0, 0, 0, 0, 9]));
    let BootEventKind::UnknownMac { via, .. } = &stranger.events[0].kind else {
        panic!("not unknown")
    };
    assert_eq!(via, &want);
}

#[test]
fn a_request_that_names_no_address_is_dropped() {
    assert_eq!(decided(&Packet::new(3)).outcome, "no_address");
}

#[test]
fn inform_is_acknowledged_without_a_lease() {
    let decision = decided(&Packet::new(8).at(12, &ADDRESS.octets()));
    let ack = message(&decision);
    assert_eq!(message_type(&ack), Some(MessageType::Ack));
    assert_eq!(
        (ack.yiaddr(), ack.ciaddr()),
        (Ipv4Addr::UNSPECIFIED, ADDRESS)
    );
    for absent in [
        OptionCode::AddressLeaseTime,
        OptionCode::Renewal,
        OptionCode::Rebinding,
    ] {
        assert_eq!(ack.opts().get(absent), None);
    }
    assert_eq!(kinds(&decision), ["dhcpInform"]);
    assert_eq!(
        decision.reply.map(|reply| reply.to.to_string()).as_deref(),
        Some("10.77.0.11:68")
    );
}

#[test]
fn decline_and_release_are_recorded_and_not_answered() {
    let declined = decided(
        &Packet::new(4)
            .set(50, &ADDRESS.octets())
            .set(54, &SERVER.octets()),
    );
    assert_eq!(
        (declined.reply.as_ref(), kinds(&declined)),
        (None, vec!["dhcpDecline"])
    );
    let released = decided(
        &Packet::new(7)
            .at(12, &ADDRESS.octets())
            .set(54, &SERVER.octets()),
    );
    assert_eq!(
        (released.reply.as_ref(), kinds(&released)),
        (None, vec!["dhcpRelease"])
    );
    assert!(
        decided(&discover()).reply.is_some(),
        "a declined reservation stays served"
    );
}

#[test]
fn bios_gets_a_lease_without_a_file_and_the_event_says_why() {
    let decision = decided(
        &discover()
            .set(93, &[0, 0])
            .set(60, b"PXEClient:Arch:00000:UNDI:002001"),
    );
    let offer = message(&decision);
    assert_eq!(offer.yiaddr(), ADDRESS);
    assert_eq!(offer.opts().get(OptionCode::BootfileName), None);
    assert_eq!(offer.fname(), None);
    assert_eq!(
        decision.events[1].kind,
        BootEventKind::DhcpOffer {
            address: ADDRESS,
            boot_file: None,
            no_boot_file: Some(NoBootFile::LegacyBios),
        }
    );
}

#[test]
fn a_relayed_request_is_answered_to_the_relay_with_its_option_82() {
    let agent = [1, 4, b'p', b'o', b'r', b't', 151, 1, 7];
    let packet = discover().at(24, &[10, 1, 0, 1]).set(82, &agent);
    let decision = decided(&packet);
    let reply = decision.reply.as_ref().expect("answered");
    assert_eq!(reply.to.to_string(), "10.1.0.1:67");
    let end = reply
        .bytes
        .iter()
        .rposition(|byte| *byte == 255)
        .expect("has an end");
    assert_eq!(
        &reply.bytes[end - agent.len()..end],
        agent,
        "copied byte by byte, last"
    );
    assert_eq!(message(&decision).giaddr(), Ipv4Addr::new(10, 1, 0, 1));
}

#[test]
fn the_machine_name_is_the_host_name_when_it_can_be() {
    let names = |name: &str| {
        let mut renamed = machine();
        renamed.name = name.into();
        let directory = InMemory::new(vec![renamed]);
        let request = BootRequest::parse(&discover().bytes()).expect("parses");
        let decision = decide(arrival(), &server(), &directory, &request);
        message(&decision).opts().get(OptionCode::Hostname).cloned()
    };
    assert_eq!(
        names("rack-7.node-1"),
        Some(DhcpOption::Hostname("rack-7.node-1".into()))
    );
    assert_eq!(names("-x"), None);
    assert_eq!(names(&"x".repeat(64)), None);
}

proptest! {
    /// Whatever is asked, only the reserved address is ever given, and any reply decodes.
    #[test]
    fn nobody_gets_an_address_that_is_not_reserved(
        kind in prop::sample::select(vec![1_u8, 3, 4, 7, 8]),
        ciaddr: [u8; 4], giaddr: [u8; 4], requested in prop::option::of(any::<[u8; 4]>()),
        server_id in prop::option::of(prop::sample::select(vec![SERVER.octets(), OTHER])),
        flags: u16, last in 0x10_u8..0x13, class in "\\PC{0,40}",
        agent in prop::collection::vec(any::<u8>(), 0..=255),
        size in prop::option::of(any::<u16>()),
    ) {
        let mut packet = discover()
            .at(0, &[1]).at(10, &flags.to_be_bytes()).at(12, &ciaddr).at(24, &giaddr)
            .at(28, &[0x52, 0x54, 0, 0x77, 0, last])
            .set(53, &[kind]).set(60, class.as_bytes()).set(82, &agent).unset(57);
        if let Some(requested) = requested { packet = packet.set(50, &requested); }
        if let Some(id) = server_id { packet = packet.set(54, &id); }
        if let Some(size) = size { packet = packet.set(57, &size.to_be_bytes()); }
        let decision = decided(&packet);
        if last != 0x11 {
            prop_assert_eq!(&decision.reply, &None);
        }
        if let Some(reply) = &decision.reply {
            prop_assert!((300..=1472).contains(&reply.bytes.len()));
            prop_assert!(reply.bytes.len() <= 548.max(size.map_or(0, usize::from)));
            let reply = message(&decision);
            prop_assert!(reply.yiaddr() == ADDRESS || reply.yiaddr().is_unspecified());
        }
    }
}
