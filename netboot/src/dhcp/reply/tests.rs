use std::fmt::Write as _;

use dhcproto::{Decodable, Decoder, v4::Message};
use jiff::Timestamp;

use crate::{
    dhcp::{
        decide::{Server, decide},
        request::BootRequest,
        testing::{Packet, SERVER, discover, machine},
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
    let server = Server {
        address: SERVER,
        serve_url: "http://10.77.0.1:8880".into(),
        lease_seconds: 86_400,
        domain: None,
    };
    let request = BootRequest::parse(&packet.bytes()).expect("parses");
    let reply = decide(Timestamp::UNIX_EPOCH, &server, &directory, &request)
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
    let server = Server {
        address: SERVER,
        serve_url: "http://10.77.0.1:8880".into(),
        lease_seconds: 60,
        domain: None,
    };
    let packet = discover()
        .set(93, &[0, 16])
        .set(60, b"HTTPClient:Arch:00016:UNDI:003000");
    let request = BootRequest::parse(&packet.bytes()).expect("parses");
    let reply = decide(Timestamp::UNIX_EPOCH, &server, &directory, &request)
        .reply
        .expect("replies");
    let message = Message::decode(&mut Decoder::new(&reply.bytes)).expect("decodes");
    assert_eq!(message.fname(), None);
    let url = message
        .opts()
        .get(dhcproto::v4::OptionCode::BootfileName)
        .cloned();
    let want = format!("http://10.77.0.1:8880/{}\0", "x".repeat(200));
    assert_eq!(
        url,
        Some(dhcproto::v4::DhcpOption::BootfileName(want.into_bytes()))
    );
}
