//! Sockets and batches of datagrams for generators.
//!
//! Invariant: a full socket loses a datagram like a full network does; nothing waits but `poll`.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{SocketAddrV4, UdpSocket},
    os::fd::AsRawFd as _,
};

use nix::sys::socket::{
    MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt,
};

/// A socket that does not block and whose receive queue is large, where we may have that.
pub fn bind(address: SocketAddrV4, queue_bytes: usize) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    if setsockopt(&socket, sockopt::RcvBufForce, &queue_bytes).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &queue_bytes)?;
    }
    Ok(socket)
}

/// Most datagrams of one call.
const BATCH: usize = 64;
/// Longest datagram received.
const LONGEST: usize = 1600;

/// Receives and sends many datagrams with one call.
#[derive(Debug)]
pub struct Batch {
    received: MultiHeaders<SockaddrIn>,
    sent: MultiHeaders<SockaddrIn>,
    buffers: Vec<[u8; LONGEST]>,
    lengths: Vec<usize>,
    out: Vec<Vec<u8>>,
    waiting: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            received: MultiHeaders::preallocate(BATCH, None),
            sent: MultiHeaders::preallocate(BATCH, None),
            buffers: vec![[0; LONGEST]; BATCH],
            lengths: Vec::with_capacity(BATCH),
            out: vec![Vec::new(); BATCH],
            waiting: 0,
        }
    }
}

impl Batch {
    /// Receives what is there, up to a batch; gives the number of datagrams.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.lengths.clear();
        let mut slices: Vec<_> = self
            .buffers
            .iter_mut()
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        match recvmmsg(
            socket.as_raw_fd(),
            &mut self.received,
            slices.iter_mut(),
            flags,
            None,
        ) {
            Ok(results) => self.lengths.extend(results.map(|message| message.bytes)),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::ECONNREFUSED) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.lengths.len())
    }

    /// One of the datagrams received last.
    pub fn datagram(&self, index: usize) -> &[u8] {
        let length = self.lengths.get(index).copied().unwrap_or(0);
        let buffer = self
            .buffers
            .get(index)
            .map_or(&[][..], |buffer| &buffer[..]);
        buffer.get(..length).unwrap_or_default()
    }

    /// A place to write the next datagram; [`Self::send`] it when [`Self::is_full`].
    pub fn slot(&mut self) -> Option<&mut Vec<u8>> {
        let slot = self.out.get_mut(self.waiting)?;
        self.waiting += 1;
        slot.clear();
        Some(slot)
    }

    /// Whether there is no [`Self::slot`] left.
    pub fn is_full(&self) -> bool {
        self.waiting >= self.out.len()
    }

    /// Sends all slots; gives how many left.
    pub fn send(&mut self, socket: &UdpSocket, to: SocketAddrV4) -> io::Result<usize> {
        let count = std::mem::take(&mut self.waiting);
        if count == 0 {
            return Ok(0);
        }
        let slices: Vec<_> = self
            .out
            .iter()
            .take(count)
            .map(|bytes| [IoSlice::new(bytes)])
            .collect();
        let to = vec![Some(SockaddrIn::from(to)); count];
        let flags = MsgFlags::MSG_DONTWAIT;
        match sendmmsg(socket.as_raw_fd(), &mut self.sent, &slices, to, [], flags) {
            Ok(results) => Ok(results.count()),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::ECONNREFUSED) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}
