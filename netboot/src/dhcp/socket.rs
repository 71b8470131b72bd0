//! The sockets of the DHCP server: the server port, the ProxyDHCP port, and an ear on the client
//! port for other servers.
//!
//! Not a place for rules. Invariant: the ear takes no datagram away from a DHCP client of this host.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::UdpSocket;

use super::{CLIENT_PORT, interface::Interface, server::DhcpError};

/// Room for the requests of a whole rack that is switched on at once.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A socket on the server port or the ProxyDHCP port.
pub(super) fn server(
    address: SocketAddrV4,
    device: Option<&Interface>,
) -> Result<UdpSocket, DhcpError> {
    let failed = |call| refused(call, address);
    let socket = datagram().map_err(failed("open a socket"))?;
    // Beyond net.core.rmem_max where we may, up to it where we may not.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        socket
            .set_recv_buffer_size(RECEIVE_BUFFER)
            .map_err(failed("size the receive buffer"))?;
    }
    if let Some(device) = device {
        socket
            .set_broadcast(true)
            .map_err(failed("allow broadcasts"))?;
        socket
            .bind_device(Some(device.name.as_bytes()))
            .map_err(failed("bind to the interface"))?;
    }
    socket
        .bind(&address.into())
        .map_err(failed("bind the socket"))?;
    UdpSocket::from_std(socket.into()).map_err(failed("register the socket"))
}

/// A socket that hears what other servers broadcast to clients on this interface.
///
/// It is bound to the broadcast address, so unicast to a client of this host never comes here, and
/// broadcasts are copied to every socket that wants them. Our own, which the kernel loops back, are
/// filtered out in the kernel.
pub(super) fn ear(device: &Interface) -> Result<UdpSocket, DhcpError> {
    let address = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
    let failed = |call| refused(call, address);
    let socket = datagram().map_err(failed("open a socket"))?;
    socket
        .set_reuse_address(true)
        .map_err(failed("share the address"))?;
    socket
        .bind_device(Some(device.name.as_bytes()))
        .map_err(failed("bind to the interface"))?;
    socket
        .attach_filter(&not_from(device.address))
        .map_err(failed("filter our own messages"))?;
    socket
        .bind(&address.into())
        .map_err(failed("bind the socket"))?;
    UdpSocket::from_std(socket.into()).map_err(failed("register the socket"))
}

/// Classic BPF: the source address stands 12 bytes into the IP header.
fn not_from(address: Ipv4Addr) -> [SockFilter; 4] {
    // linux/filter.h: BPF_LD | BPF_W | BPF_ABS at SKF_NET_OFF, BPF_JMP | BPF_JEQ, BPF_RET.
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const NETWORK_HEADER: u32 = 0xfff0_0000;
    [
        SockFilter::new(LOAD, 0, 0, NETWORK_HEADER + 12),
        SockFilter::new(EQUAL, 0, 1, address.into()),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

fn datagram() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn refused(call: &'static str, address: SocketAddrV4) -> impl Fn(io::Error) -> DhcpError {
    move |source| DhcpError::Socket {
        call,
        address,
        source,
    }
}
