//! The four rtnetlink messages the installer sends, as bytes, and their acknowledgement. Pure.
//!
//! Layouts: Linux `rtnetlink(7)`, `netlink(7)`; numbers are in host byte order, attributes are
//! padded to four bytes. Invariant: the length field of a message is its length.

use std::net::Ipv4Addr;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const IFF_UP: u32 = 0x1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTNH_F_ONLINK: u32 = 4;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;
const AF_INET: u8 = 2;
const HEADER_LEN: usize = 16;

/// Sets an interface up.
pub fn link_up(sequence: u32, index: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    message(RTM_NEWLINK, 0, sequence, &body)
}

/// Gives an interface an IPv4 address; an equal one is replaced.
pub fn add_address(sequence: u32, index: u32, ip: Ipv4Addr, prefix_len: u8) -> Vec<u8> {
    let mut body = vec![AF_INET, prefix_len, 0, 0];
    body.extend(index.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, ip.octets());
    attribute(&mut body, IFA_ADDRESS, ip.octets());
    let host_bits = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
    if prefix_len < 31 {
        attribute(
            &mut body,
            IFA_BROADCAST,
            (ip.to_bits() | host_bits).to_be_bytes(),
        );
    }
    message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sequence, &body)
}

/// Sets the default route; the gateway need not be inside the interface's network.
pub fn default_route(sequence: u32, index: u32, gateway: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![
        AF_INET,
        0,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_STATIC,
        0,
        RTN_UNICAST,
    ];
    body.extend(RTNH_F_ONLINK.to_ne_bytes());
    attribute(&mut body, RTA_GATEWAY, gateway.octets());
    attribute(&mut body, RTA_OIF, index.to_ne_bytes());
    message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sequence, &body)
}

/// What a received datagram says about our request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledgement {
    /// Done.
    Done,
    /// Refused with this `errno`.
    Refused(i32),
    /// Not an answer to this request.
    Unrelated,
}

/// Reads the first message of a datagram.
pub fn acknowledgement(datagram: &[u8], sequence: u32) -> Acknowledgement {
    let kind = field::<2>(datagram, 4).map(u16::from_ne_bytes);
    let number = field::<4>(datagram, 8).map(u32::from_ne_bytes);
    let code = field::<4>(datagram, HEADER_LEN).map(i32::from_ne_bytes);
    match (kind, number, code) {
        (Some(NLMSG_ERROR), Some(n), Some(0)) if n == sequence => Acknowledgement::Done,
        (Some(NLMSG_ERROR), Some(n), Some(code)) if n == sequence => {
            Acknowledgement::Refused(code.saturating_neg())
        }
        _ => Acknowledgement::Unrelated,
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: [u8; 4]) {
    body.extend(8_u16.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    // A request of this file is below 100 bytes.
    let length = u32::try_from(HEADER_LEN + body.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(body);
    bytes
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    #[test]
    fn link_up_has_the_kernel_layout() {
        assert_eq!(
            link_up(7, 2),
            [
                32, 0, 0, 0, 16, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
                0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, // ifinfomsg
            ]
        );
    }

    #[test]
    fn an_address_carries_local_peer_and_broadcast() {
        assert_eq!(
            add_address(8, 2, Ipv4Addr::new(10, 77, 0, 11), 24),
            [
                48, 0, 0, 0, 20, 0, 5, 5, 8, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
                2, 24, 0, 0, 2, 0, 0, 0, // ifaddrmsg
                8, 0, 2, 0, 10, 77, 0, 11, 8, 0, 1, 0, 10, 77, 0, 11, // local, address
                8, 0, 4, 0, 10, 77, 0, 255, // broadcast
            ]
        );
    }

    #[test]
    fn a_default_route_names_gateway_and_interface() {
        assert_eq!(
            default_route(9, 2, Ipv4Addr::new(10, 77, 0, 1)),
            [
                44, 0, 0, 0, 24, 0, 5, 5, 9, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
                2, 0, 0, 0, 254, 4, 0, 1, 4, 0, 0, 0, // rtmsg
                8, 0, 5, 0, 10, 77, 0, 1, 8, 0, 4, 0, 2, 0, 0, 0, // gateway, interface
            ]
        );
    }

    #[test]
    fn acknowledgements_are_matched_by_sequence() {
        let mut ack = vec![36, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(acknowledgement(&ack, 9), Acknowledgement::Done);
        assert_eq!(acknowledgement(&ack, 8), Acknowledgement::Unrelated);
        ack.splice(16..20, (-17_i32).to_ne_bytes());
        assert_eq!(acknowledgement(&ack, 9), Acknowledgement::Refused(17));
        assert_eq!(acknowledgement(&[], 9), Acknowledgement::Unrelated);
    }
}
