//! UDP sockets that know which of our addresses was asked.
//!
//! Invariant: a transfer is answered from the address its request was sent to, from a port of its
//! own (its TID), and hears that one client only.

use std::{
    io::{self, IoSliceMut},
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd,
};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, recv, recvmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

/// A request and where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) length: usize,
    pub(crate) peer: SocketAddrV4,
    /// The address of ours that was asked.
    pub(crate) local: Ipv4Addr,
}

/// Binds the request port.
pub(crate) fn listen(address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    socket.set_recv_buffer_size(1 << 20)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// The port of one transfer.
pub(crate) async fn connect(local: Ipv4Addr, peer: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddrV4::new(local, 0)).await?;
    socket.connect(peer).await?;
    Ok(socket)
}

/// Waits for a datagram on the request port. A longer one is cut to the buffer.
pub(crate) async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Received> {
    socket
        .async_io(Interest::READABLE, || receive_now(socket, buffer))
        .await
}

/// What lies in the queue of a connected socket, without waiting.
///
/// The kernel reports a closed client port before what that client sent last; after such an error
/// this finds the final acknowledgement.
pub(crate) fn receive_pending(socket: &UdpSocket, buffer: &mut [u8]) -> Option<usize> {
    recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT).ok()
}

fn receive_now(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = nix::cmsg_space!(nix::libc::in_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let local = message.cmsgs()?.find_map(|control| {
        let ControlMessageOwned::Ipv4PacketInfo(info) = control else {
            return None;
        };
        Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)))
    });
    let peer = message
        .address
        .ok_or_else(|| io::Error::other("a datagram without a sender"))?;
    Ok(Received {
        length: message.bytes,
        peer: SocketAddrV4::new(peer.ip(), peer.port()),
        local: local.unwrap_or(Ipv4Addr::UNSPECIFIED),
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[tokio::test]
    async fn the_asked_address_is_known_on_a_wildcard_socket() -> io::Result<()> {
        let server = listen(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
        let port = server.local_addr()?.port();
        let client = UdpSocket::bind("127.0.0.1:0").await?;
        let asked = Ipv4Addr::new(127, 0, 0, 9);
        client.send_to(b"hello", (asked, port)).await?;
        let mut buffer = [0; 16];
        let received = receive(&server, &mut buffer).await?;
        assert_eq!((received.length, received.local), (5, asked));
        assert_eq!(received.peer.to_string(), client.local_addr()?.to_string());
        let answer = connect(received.local, received.peer).await?;
        answer.send(b"back").await?;
        let (length, from) = client.recv_from(&mut buffer).await?;
        assert_eq!((length, from), (4, answer.local_addr()?));
        assert_eq!(from.ip(), asked);
        Ok(())
    }

    #[tokio::test]
    async fn the_last_words_of_a_closed_port_are_heard_after_the_error() -> io::Result<()> {
        let client = UdpSocket::bind("127.0.0.1:0").await?;
        let SocketAddr::V4(peer) = client.local_addr()? else {
            unreachable!("bound to IPv4")
        };
        let server = connect(Ipv4Addr::LOCALHOST, peer).await?;
        client.send_to(b"last", server.local_addr()?).await?;
        drop(client);
        server.send(b"too late").await?;
        let mut buffer = [0; 16];
        let refused = server
            .recv(&mut buffer)
            .await
            .expect_err("the port is closed");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(receive_pending(&server, &mut buffer), Some(4));
        assert_eq!(receive_pending(&server, &mut buffer), None);
        Ok(())
    }
}
