//! System calls on UDP sockets, in batches, and the one that knows which of our addresses was asked.
//!
//! Invariant: nothing here waits.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{self, Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd,
};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, recvmsg,
    sendmmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// Datagrams per call.
pub(super) const BATCH: usize = 64;
/// Asked for while few come: to make room for a batch costs as much as a call.
const FEW: usize = 4;
/// Room for one datagram of a client; acknowledgements have 4 bytes, errors a few words.
const HEARD: usize = 128;
/// Asked for; the kernel may give less to a process without CAP_NET_ADMIN.
const QUEUE_BYTES: usize = 4 << 20;

/// A request and where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) length: usize,
    pub(super) peer: SocketAddrV4,
    /// The address of ours that was asked.
    pub(super) local: Ipv4Addr,
}

/// Binds the request port.
pub(super) fn listen(address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = open()?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// A port for transfers, on one of our addresses. It hears of datagrams that could not be delivered.
pub(super) fn bind(local: Ipv4Addr) -> io::Result<net::UdpSocket> {
    let socket = open()?;
    setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
    socket.bind(&SocketAddrV4::new(local, 0).into())?;
    Ok(socket.into())
}

fn open() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    if setsockopt(&socket, sockopt::RcvBufForce, &QUEUE_BYTES).is_err() {
        socket.set_recv_buffer_size(QUEUE_BYTES)?;
    }
    if setsockopt(&socket, sockopt::SndBufForce, &QUEUE_BYTES).is_err() {
        socket.set_send_buffer_size(QUEUE_BYTES)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// One datagram from the request port. A longer one is cut to the buffer.
pub(super) fn receive_request(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Received> {
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

/// Datagrams of clients, received together. What is longer than a word of error is cut.
#[derive(Debug)]
pub(super) struct Heard {
    buffers: Vec<[u8; HEARD]>,
    from: Vec<(SocketAddrV4, usize)>,
    /// How many the next call asks for.
    room: usize,
}

impl Default for Heard {
    fn default() -> Self {
        Self {
            buffers: vec![[0; HEARD]; BATCH],
            from: Vec::with_capacity(BATCH),
            room: FEW,
        }
    }
}

impl Heard {
    /// Receives some; tells whether there may be more.
    pub(super) fn receive(&mut self, socket: &impl AsRawFd) -> io::Result<bool> {
        self.from.clear();
        let room = self.room;
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(room, None);
        let mut slices: Vec<_> = self
            .buffers
            .iter_mut()
            .take(room)
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let messages = recvmmsg(
            socket.as_raw_fd(),
            &mut headers,
            slices.iter_mut(),
            flags,
            None,
        )?;
        for message in messages {
            let from = message
                .address
                .map_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), |address| {
                    SocketAddrV4::new(address.ip(), address.port())
                });
            self.from.push((from, message.bytes));
        }
        self.room = if self.from.len() < FEW { FEW } else { BATCH };
        Ok(self.from.len() == room)
    }

    /// Sender and bytes of each.
    pub(super) fn each(&self) -> impl Iterator<Item = (SocketAddrV4, &[u8])> {
        self.from
            .iter()
            .zip(&self.buffers)
            .map(|((from, length), buffer)| (*from, buffer.get(..*length).unwrap_or_default()))
    }
}

/// A datagram in two parts.
pub(super) type Parts<'a> = [IoSlice<'a>; 2];

/// Sends one datagram.
pub(super) fn send_one(
    socket: &impl AsRawFd,
    datagram: &Parts<'_>,
    to: SocketAddrV4,
) -> io::Result<()> {
    let flags = MsgFlags::MSG_DONTWAIT;
    sendmsg(
        socket.as_raw_fd(),
        datagram,
        &[],
        flags,
        Some(&SockaddrIn::from(to)),
    )?;
    Ok(())
}

/// Sends the datagrams; gives how many the kernel took.
pub(super) fn send_many(
    socket: &impl AsRawFd,
    datagrams: &[Parts<'_>],
    to: &[Option<SockaddrIn>],
) -> io::Result<usize> {
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(datagrams.len(), None);
    let flags = MsgFlags::MSG_DONTWAIT;
    let sent = sendmmsg(socket.as_raw_fd(), &mut headers, datagrams, to, [], flags)?;
    Ok(sent.count())
}

/// Sends datagrams of `size` bytes each, the last perhaps shorter, as one piece.
pub(super) fn send_segmented(
    socket: &impl AsRawFd,
    parts: &[IoSlice<'_>],
    size: u16,
    to: SocketAddrV4,
) -> io::Result<()> {
    let control = [ControlMessage::UdpGsoSegments(&size)];
    let flags = MsgFlags::MSG_DONTWAIT;
    sendmsg(
        socket.as_raw_fd(),
        parts,
        &control,
        flags,
        Some(&SockaddrIn::from(to)),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(socket: &UdpSocket) -> SocketAddrV4 {
        match socket.local_addr().expect("is bound") {
            std::net::SocketAddr::V4(address) => address,
            std::net::SocketAddr::V6(_) => unreachable!("bound to IPv4"),
        }
    }

    #[tokio::test]
    async fn the_asked_address_is_known_on_a_wildcard_socket() -> io::Result<()> {
        let server = listen(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
        let client = UdpSocket::bind("127.0.0.1:0").await?;
        let asked = Ipv4Addr::new(127, 0, 0, 9);
        client
            .send_to(b"hello", (asked, address(&server).port()))
            .await?;
        server.readable().await?;
        let mut buffer = [0; 16];
        let received = receive_request(&server, &mut buffer)?;
        assert_eq!((received.length, received.local), (5, asked));
        assert_eq!(received.peer, address(&client));
        Ok(())
    }

    #[tokio::test]
    async fn batches_arrive_whole_and_in_order() -> io::Result<()> {
        let port = || UdpSocket::from_std(bind(Ipv4Addr::LOCALHOST)?);
        let (server, client) = (port()?, port()?);
        let (to, empty) = (SockaddrIn::from(address(&client)), [].as_slice());
        let datagrams = [b"a", b"b", b"c"].map(|text| [IoSlice::new(text), IoSlice::new(empty)]);
        assert_eq!(send_many(&server, &datagrams, &[Some(to); 3])?, 3);
        let segmented = [IoSlice::new(b"de"), IoSlice::new(b"fg"), IoSlice::new(b"h")];
        send_segmented(&server, &segmented, 2, address(&client))?;
        send_one(&server, &datagrams[0], address(&client))?;
        client.readable().await?;
        let mut heard = Heard::default();
        let mut texts = Vec::new();
        // The second call has room for more than came.
        for more in [true, false] {
            assert_eq!(heard.receive(&client)?, more);
            texts.extend(heard.each().map(|(from, text)| (from, text.to_vec())));
        }
        let want = [&b"a"[..], b"b", b"c", b"de", b"fg", b"h", b"a"];
        assert_eq!(texts, want.map(|text| (address(&server), text.to_vec())));
        assert!(
            heard
                .receive(&client)
                .is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
        );
        Ok(())
    }
}
