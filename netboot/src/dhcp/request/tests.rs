use proptest::prelude::*;

use super::*;
use crate::dhcp::testing::{MAC, Packet, discover};

#[test]
fn the_discover_of_ovmf_is_understood() {
    let request = BootRequest::parse(&discover().bytes()).expect("parses");
    assert_eq!(request.kind, RequestKind::Discover);
    assert_eq!(request.mac, MAC);
    assert_eq!(request.xid, 0xdead_beef);
    assert!(request.is_broadcast());
    assert!(!request.is_relayed());
    assert_eq!(request.max_message_size, Some(1472));
    assert_eq!(
        request.vendor_class.as_deref(),
        Some("PXEClient:Arch:00007:UNDI:003000")
    );
    assert_eq!(request.arch(), Some(ClientArch::UefiX64));
    assert_eq!(request.client_uuid.map(|uuid| uuid.len()), Some(17));
    assert_eq!(
        (request.server_identifier, request.requested_address),
        (None, None)
    );
}

#[test]
fn all_architectures_of_the_list_are_kept_and_the_usable_one_is_served() {
    let request = BootRequest::parse(&discover().set(93, &[0, 0, 0, 7]).bytes()).expect("parses");
    assert_eq!(
        request.architectures,
        [ClientArch::BiosX86, ClientArch::UefiX64]
    );
    assert_eq!(request.arch(), Some(ClientArch::UefiX64));
    let request = BootRequest::parse(&discover().set(93, &[0, 0]).bytes()).expect("parses");
    assert_eq!(request.arch(), Some(ClientArch::BiosX86));
}

#[test]
fn each_malformed_packet_has_its_own_refusal() {
    let mut truncated = discover().bytes();
    truncated.truncate(truncated.len() - 3);
    let cases = [
        (vec![], Refusal::TooShort),
        (discover().header[..239].to_vec(), Refusal::TooShort),
        (vec![1; 1501], Refusal::TooLong),
        (discover().at(0, &[2]).bytes(), Refusal::NotARequest),
        (discover().at(1, &[6]).bytes(), Refusal::NotEthernet),
        (discover().at(2, &[17]).bytes(), Refusal::NotEthernet),
        (discover().at(2, &[255]).bytes(), Refusal::NotEthernet),
        (discover().at(28, &[0xff]).bytes(), Refusal::NotUnicast),
        (discover().at(28, &[0; 6]).bytes(), Refusal::NotUnicast),
        (discover().at(236, &[0]).bytes(), Refusal::NoCookie),
        (discover().unset(53).bytes(), Refusal::NoMessageType),
        (Packet::new(2).bytes(), Refusal::MessageType(2)),
        (discover().set(53, &[1, 1]).bytes(), Refusal::BadOption(53)),
        (
            discover().set(50, &[10, 0, 0]).bytes(),
            Refusal::BadOption(50),
        ),
        (discover().set(54, &[]).bytes(), Refusal::BadOption(54)),
        (discover().set(93, &[0]).bytes(), Refusal::BadOption(93)),
        (truncated, Refusal::BadOption(60)),
    ];
    for (bytes, want) in cases {
        assert_eq!(BootRequest::parse(&bytes), Err(want));
    }
}

/// A packet with more options behind its own.
fn with_more(packet: &Packet, more: &[u8]) -> Vec<u8> {
    let mut bytes = packet.bytes();
    bytes.pop();
    [&bytes, more, &[255]].concat()
}

#[test]
fn an_option_in_parts_is_joined_and_one_of_fixed_length_sent_twice_is_refused() {
    let in_parts = with_more(
        &discover().set(61, b"rack 4 "),
        &[97, 0, 61, 4, b'n', b'o', b'd', b'e'],
    );
    let request = BootRequest::parse(&in_parts).expect("parses");
    assert_eq!(request.client_id.as_deref(), Some(&b"rack 4 node"[..]));
    assert_eq!(request.client_uuid.map(|uuid| uuid.len()), Some(17));
    for (code, data) in [
        (50, &[10, 77, 0, 9][..]),
        (53, &[3]),
        (54, &[10, 77, 0, 1]),
        (57, &[2, 64]),
    ] {
        let once = discover().set(code, data);
        let part = [&[code, u8::try_from(data.len()).expect("short")], data].concat();
        assert_eq!(
            BootRequest::parse(&with_more(&once, &part)).map(drop),
            Err(Refusal::BadOption(code)),
            "option {code} twice"
        );
    }
}

#[test]
fn options_in_file_and_sname_are_read_when_option_52_says_so() {
    let areas = || {
        discover()
            .unset(60)
            .at(108, &[60, 3, b'P', b'X', b'E', 255])
            .at(44, &[60, 2, b'C', b'l', 255])
    };
    let class = |overload: u8| {
        let request = BootRequest::parse(&areas().set(52, &[overload]).bytes()).expect("parses");
        request.vendor_class
    };
    assert_eq!(class(1).as_deref(), Some("PXE"));
    assert_eq!(class(2).as_deref(), Some("Cl"));
    assert_eq!(
        class(3).as_deref(),
        Some("PXECl"),
        "file comes before sname"
    );
    assert_eq!(
        BootRequest::parse(&areas().bytes())
            .expect("parses")
            .vendor_class,
        None
    );
    for wrong in [&[0][..], &[4], &[], &[1, 1]] {
        assert_eq!(
            BootRequest::parse(&areas().set(52, wrong).bytes()).map(drop),
            Err(Refusal::BadOption(52))
        );
    }
}

#[test]
fn relay_information_that_could_not_all_be_echoed_is_refused() {
    let once = discover().set(82, &[1, 2, 3, 4]).bytes();
    assert!(BootRequest::parse(&once).is_ok());
    let end = once.len() - 1;
    let twice = [&once[..end], &[93, 2, 0, 7, 82, 4, 1, 2, 5, 6, 255]].concat();
    assert_eq!(
        BootRequest::parse(&twice).map(drop),
        Err(Refusal::BadOption(82))
    );
}

#[test]
fn a_packet_of_two_types_is_refused() {
    let once = discover().bytes();
    let twice = [&once[..once.len() - 1], &[93, 2, 0, 7, 53, 1, 8, 255]].concat();
    assert_eq!(
        BootRequest::parse(&twice).map(drop),
        Err(Refusal::BadOption(53))
    );
}

#[test]
fn a_missing_end_option_is_forgiven() {
    let mut bytes = discover().bytes();
    bytes.pop();
    assert!(BootRequest::parse(&bytes).is_ok());
}

proptest! {
    #[test]
    fn no_bytes_make_parsing_panic(bytes in proptest::collection::vec(any::<u8>(), 0..=600)) {
        let _parsed = BootRequest::parse(&bytes);
    }

    /// Noise behind a good fixed part reaches the option reader.
    #[test]
    fn no_options_make_parsing_panic(noise in proptest::collection::vec(any::<u8>(), 0..=360)) {
        let mut bytes = discover().header;
        bytes.extend(noise);
        let _parsed = BootRequest::parse(&bytes);
    }

    #[test]
    fn no_hardware_length_makes_parsing_panic(htype: u8, hlen: u8) {
        let parsed = BootRequest::parse(&discover().at(1, &[htype, hlen]).bytes());
        prop_assert_eq!(parsed.is_ok(), (htype, hlen) == (1, 6));
    }

    /// What dhcproto writes is read back by us.
    #[test]
    fn what_another_encoder_writes_is_understood(
        xid: u32, secs: u16, requested: [u8; 4], server: [u8; 4], giaddr: [u8; 4],
        arch: u16, client_id in proptest::collection::vec(any::<u8>(), 1..=255),
    ) {
        use dhcproto::{Encodable, v4::{DhcpOption, Message, MessageType, Architecture as Arch}};
        let mut message = Message::new_with_id(
            xid, [0; 4].into(), [0; 4].into(), [0; 4].into(), giaddr.into(), &MAC.octets(),
        );
        message.set_secs(secs);
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(MessageType::Request));
        options.insert(DhcpOption::RequestedIpAddress(requested.into()));
        options.insert(DhcpOption::ServerIdentifier(server.into()));
        options.insert(DhcpOption::ClientSystemArchitecture(Arch::from(arch)));
        options.insert(DhcpOption::ClientIdentifier(client_id.clone()));
        let request = BootRequest::parse(&message.to_vec().expect("encodes")).expect("parses");
        prop_assert_eq!(request.kind, RequestKind::Request);
        prop_assert_eq!((request.xid, request.secs), (xid, secs));
        prop_assert_eq!(request.requested_address, Some(requested.into()));
        prop_assert_eq!(request.server_identifier, Some(server.into()));
        prop_assert_eq!(request.giaddr, Ipv4Addr::from(giaddr));
        prop_assert_eq!(request.architectures, vec![ClientArch::from_number(arch)]);
        prop_assert_eq!(request.client_id, Some(client_id));
    }
}
