use std::fmt::Write as _;

use dhcproto::{
    Decodable, Decoder,
    v4::{DhcpOption, Message, OptionCode},
};

use crate::{
    dhcp::{
        decide::{Server, decide},
        request::BootRequest,
        testing::{Packet, arrival, discover, machine, server},
    },
    directory::{BootMachine, BootProtocol, InMemory},
};

/// The reply as hex, 16 bytes a line with runs of zero lines left out, and as another decoder
/// reads it.
fn shown(packet: &Packet) -> String {
    shown_to(machine(), packet)
}

fn shown_to(machine: BootMachine, packet: &Packet) -> String {
    let directory = InMemory::new(vec![machine]);
    let request = BootRequest::parse(&packet.bytes()).expect("parses");
    let reply = decide(arrival(), &server(), &directory, &request)
        .reply
        .expect("replies");
    let mut text = format!("to {}, {} bytes\n", reply.to, reply.bytes.len());
    for (line, bytes) in reply.bytes.chunks(16).enumerate() {
        if bytes.iter().any(|byte| *byte != 0) {
            write!(text, "{:04x}", line * 16).expect("writes");
            for byte in bytes {
                write!(text, " {byte:02x}").expect("writes");
            }
            text.push('\n');
        }
    }
    let message = Message::decode(&mut Decoder::new(&reply.bytes)).expect("decodes");
    writeln!(
        text,
        "file {:?} sname {:?}",
        message.fname_str(),
        message.sname_str()
    )
    .expect("writes");
    writeln!(
        text,
        "yiaddr {} siaddr {}",
        message.yiaddr(),
        message.siaddr()
    )
    .expect("writes");
    for (_, option) in message.opts().iter() {
        writeln!(text, "{option:?}").expect("writes");
    }
    text
}

#[test]
fn the_offer_to_ovmf_by_pxe() {
    insta::assert_snapshot!(shown(&discover()));
}

#[test]
fn the_offer_to_ovmf_by_http_boot() {
    let packet = discover()
        .set(93, &[0, 16])
        .set(60, b"HTTPClient:Arch:00016:UNDI:003000");
    let mut http = machine();
    http.protocol = BootProtocol::Http;
    insta::assert_snapshot!(shown_to(http, &packet));
}

#[test]
fn the_ack_to_an_installed_host() {
    let packet = Packet::new(3)
        .set(61, &[1, 0x52, 0x54, 0, 0x77, 0, 0x11])
        .set(60, b"udhcp 1.35")
        .set(50, &[10, 77, 0, 11]);
    insta::assert_snapshot!(shown(&packet));
}

#[test]
fn the_nak_through_a_relay() {
    let packet = Packet::new(3)
        .at(24, &[10, 1, 0, 1])
        .set(82, &[1, 2, 3, 4])
        .set(50, &[10, 77, 0, 9]);
    insta::assert_snapshot!(shown(&packet));
}

#[test]
fn a_url_too_long_for_the_file_field_is_in_option_67_alone() {
    let mut long = machine();
    long.protocol = BootProtocol::Http;
    let image = std::sync::Arc::make_mut(long.netboot.as_mut().expect("has one"));
    image.metadata.http_boot_path = Some("x".repeat(200));
    let directory = InMemory::new(vec![long]);
    let packet = discover()
        .set(93, &[0, 16])
        .set(60, b"HTTPClient:Arch:00016:UNDI:003000");
    let request = BootRequest::parse(&packet.bytes()).expect("parses");
    let reply = decide(arrival(), &server(), &directory, &request)
        .reply
        .expect("replies");
    let message = Message::decode(&mut Decoder::new(&reply.bytes)).expect("decodes");
    assert_eq!(message.fname(), None);
    let url = message.opts().get(OptionCode::BootfileName).cloned();
    let want = format!("http://10.77.0.1:8880/{}\0", "x".repeat(200));
    assert_eq!(url, Some(DhcpOption::BootfileName(want.into_bytes())));
}

/// Options of the reply in their order on the wire, without header, end and padding.
fn codes(bytes: &[u8]) -> Vec<u8> {
    let (mut codes, mut rest) = (Vec::new(), &bytes[240..]);
    while rest[0] != 255 {
        codes.push(rest[0]);
        rest = &rest[2 + usize::from(rest[1])..];
    }
    codes
}

fn told(packet: &Packet) -> Vec<u8> {
    let mut machine = machine();
    machine.leases[0].mtu = Some(9000);
    let directory = InMemory::new(vec![machine]);
    let server = Server {
        domain: Some("rack.example".into()),
        ntp: vec![[10, 77, 0, 1].into(), [10, 77, 0, 2].into()],
        ..server()
    };
    let request = BootRequest::parse(&packet.bytes()).expect("parses");
    let reply = decide(arrival(), &server, &directory, &request).reply;
    reply.expect("replies").bytes
}

#[test]
fn a_host_is_told_what_it_asks_for_in_its_order_and_what_it_needs() {
    let host = Packet::new(3).set(50, &[10, 77, 0, 11]);
    for (asked, want) in [
        (None, vec![53, 54, 51, 1, 3, 6, 28, 12, 15, 26, 42, 58, 59]),
        (Some(&b""[..]), vec![53, 54, 51, 1]),
        (Some(&[42, 3]), vec![53, 54, 51, 1, 42, 3]),
        (
            Some(&[1, 26, 26, 121, 53, 67, 59]),
            vec![53, 54, 51, 1, 26, 59],
        ),
    ] {
        let packet = asked.map_or(host.clone(), |asked| host.clone().set(55, asked));
        assert_eq!(codes(&told(&packet)), want, "{asked:?}");
    }
    let bytes = told(&host.set(55, &[26, 42, 15]));
    let message = Message::decode(&mut Decoder::new(&bytes)).expect("decodes");
    let has = |option: DhcpOption| {
        assert_eq!(message.opts().get(OptionCode::from(&option)), Some(&option));
    };
    has(DhcpOption::InterfaceMtu(9000));
    has(DhcpOption::NtpServers(vec![
        [10, 77, 0, 1].into(),
        [10, 77, 0, 2].into(),
    ]));
    has(DhcpOption::DomainName("rack.example".into()));
}

/// GRUB takes router and name servers from the answer that the firmware got.
#[test]
fn firmware_is_told_what_its_loaders_need_whatever_it_asks_for() {
    let want = [53, 54, 51, 1, 3, 60, 67, 66, 43, 97, 6];
    assert_eq!(codes(&told(&discover().set(55, &[66, 67]))), want);
}

/// Otherwise GRUB would ask for an address again, see [`crate::dhcp::boot_file`].
#[test]
fn firmware_that_boots_from_a_url_with_an_address_is_told_no_name_server() {
    let packet = discover()
        .set(93, &[0, 16])
        .set(60, b"HTTPClient:Arch:00016:UNDI:003000");
    let mut http = machine();
    http.protocol = BootProtocol::Http;
    let directory = InMemory::new(vec![http]);
    for (serve_url, names) in [
        ("http://10.77.0.1:8880", false),
        ("http://rack.example:8880", true),
    ] {
        let server = Server {
            serve_url: serve_url.into(),
            ..server()
        };
        let request = BootRequest::parse(&packet.bytes()).expect("parses");
        let reply = decide(arrival(), &server, &directory, &request).reply;
        let codes = codes(&reply.expect("replies").bytes);
        assert_eq!(codes.contains(&6), names, "{serve_url}: {codes:?}");
        assert!(codes.contains(&3) && codes.contains(&67), "{codes:?}");
    }
}

#[test]
fn what_a_client_cannot_take_is_left_out_from_the_least_important_on() {
    let agent = [[1, 253].as_slice(), &[b'p'; 253]].concat();
    let relayed = discover().at(24, &[10, 1, 0, 1]).set(82, &agent);
    let long = relayed.unset(57).set(61, &[7; 200]);
    for size in [0_u16, 300, 576, 577, 600, 640, 1000, 1472, 9000] {
        let bytes = told(&long.clone().set(57, &size.to_be_bytes()));
        let takes = usize::from(size.clamp(576, 1500)) - 28;
        assert!(bytes.len() <= takes, "{} for {size}", bytes.len());
        let codes = codes(&bytes);
        assert_eq!(codes[..2], [53, 54]);
        assert_eq!(codes.last(), Some(&82), "always, and last");
        assert_eq!(codes.contains(&42), size > 800, "{size}: {codes:?}");
    }
}

#[test]
fn a_relay_may_name_the_subnet_and_the_server_the_client_shall_know() {
    let agent = b"\x05\x04\x0a\x4e\x00\x00\x0b\x04\x0a\x4e\x00\xfe";
    let mut machine = machine();
    let mut other = machine.leases[0].clone();
    other.ipv4 = [10, 78, 0, 11].into();
    machine.leases.push(other);
    let directory = InMemory::new(vec![machine]);
    let relayed = |packet: Packet| packet.at(24, &[10, 1, 0, 1]).set(82, agent);
    let asked = |packet: Packet| {
        let request = BootRequest::parse(&packet.bytes()).expect("parses");
        let decision = decide(arrival(), &server(), &directory, &request);
        let bytes = decision.reply.expect("replies").bytes;
        Message::decode(&mut Decoder::new(&bytes)).expect("decodes")
    };
    let offer = asked(relayed(discover()));
    assert_eq!(offer.yiaddr().to_string(), "10.78.0.11");
    let id = offer.opts().get(OptionCode::ServerIdentifier);
    let shown = DhcpOption::ServerIdentifier([10, 78, 0, 254].into());
    assert_eq!(id, Some(&shown));
    assert_eq!(
        offer.siaddr().to_string(),
        "10.77.0.1",
        "files come from us"
    );
    let request = Packet::new(3).set(50, &[10, 78, 0, 11]);
    let ack = asked(relayed(request.set(54, &[10, 78, 0, 254])));
    assert_eq!(ack.yiaddr().to_string(), "10.78.0.11");
}
