//! The ports that transfers share.
//!
//! A transfer is known by its client's address and port and by ours (RFC 1350 section 4), so many
//! can share one of ours. A client that asks again from the same port is given another of them:
//! packets of its old transfer cannot be taken for the new one's.
//!
//! Invariant: an answer leaves from the address that was asked.

use std::{
    io,
    io::IoSlice,
    net::{Ipv4Addr, UdpSocket},
    sync::Arc,
    task::{Context, Poll},
};

use nix::sys::socket::SockaddrIn;
use tokio::{
    io::{Interest, Ready, unix::AsyncFd},
    task::JoinSet,
};

use super::{
    fault::{self, Fault, beyond_faults},
    outbox::{Outbox, What},
    packet::data_header,
    socket::{self, BATCH, Heard},
    table::Id,
};

/// Ports per address of ours.
const PORTS: usize = 8;
/// Addresses of ours that may be asked; a host has a few.
const MOST_ADDRESSES: usize = 64;

/// One port.
#[derive(Debug)]
pub(super) struct Port {
    /// Watched for datagrams and faults only: a watch on room to send would be woken by every
    /// packet sent.
    socket: Arc<AsyncFd<UdpSocket>>,
    pub(super) outbox: Outbox,
    /// The kernel took a segmented piece, or was not asked yet.
    segments: bool,
}

/// What a port has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// There are datagrams at this one.
    Datagrams(usize),
    /// Datagrams from this one could not be delivered.
    Faults(usize),
}

/// All ports, by address and turn.
#[derive(Debug, Default)]
pub(super) struct Ports {
    addresses: Vec<Ipv4Addr>,
    all: Vec<Port>,
    /// One watch for each port; it ends with the port's index.
    faults: JoinSet<usize>,
    turn: usize,
    looked: usize,
}

impl Ports {
    /// A port on this address for a new transfer, not `other`.
    pub(super) fn choose(&mut self, local: Ipv4Addr, other: Option<usize>) -> io::Result<usize> {
        let known = self.addresses.iter().position(|address| *address == local);
        let at = match known {
            Some(at) => at,
            None if self.addresses.len() >= MOST_ADDRESSES => {
                return Err(io::Error::other("asked on too many addresses"));
            }
            None => {
                let sockets: Vec<_> = (0..PORTS)
                    .map(|_| watch(socket::bind(local)?))
                    .collect::<io::Result<_>>()?;
                self.addresses.push(local);
                for socket in sockets {
                    self.all.push(Port {
                        socket: Arc::new(socket),
                        outbox: Outbox::new(),
                        segments: true,
                    });
                    self.watch_faults(self.all.len() - 1, false);
                }
                self.addresses.len() - 1
            }
        };
        self.turn += 1;
        let mut index = at * PORTS + self.turn % PORTS;
        if Some(index) == other {
            self.turn += 1;
            index = at * PORTS + self.turn % PORTS;
        }
        Ok(index)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Port> {
        self.all.get_mut(index)
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Has the port's faults told as [`News`], once; at once when there may be more.
    pub(super) fn watch_faults(&mut self, index: usize, more: bool) {
        let Some(port) = self.all.get(index) else {
            return;
        };
        let socket = Arc::clone(&port.socket);
        self.faults.spawn(async move {
            if !more && let Ok(mut guard) = socket.ready(Interest::ERROR).await {
                // Before the queue is read: what comes meanwhile is told anew.
                guard.clear_ready_matching(Ready::ERROR);
            }
            index
        });
    }

    /// The next port that has something to say. A port that cannot send is not heard: it would
    /// only make more to send.
    pub(super) fn poll_news(&mut self, context: &mut Context<'_>) -> Poll<News> {
        if let Poll::Ready(Some(Ok(index))) = self.faults.poll_join_next(context) {
            return Poll::Ready(News::Faults(index));
        }
        for step in 1..=self.all.len() {
            let index = (self.looked + step) % self.all.len();
            if let Some(port) = self.all.get(index)
                && port.outbox.is_empty()
                && port.socket.poll_read_ready(context).is_ready()
            {
                self.looked = index;
                return Poll::Ready(News::Datagrams(index));
            }
        }
        Poll::Pending
    }
}

/// Watches a socket for datagrams.
#[expect(
    deprecated,
    reason = "its successor is unsafe; what it guards against, a descriptor that changes under it, no UdpSocket does"
)]
fn watch(socket: UdpSocket) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

impl Port {
    /// Receives some of what is there; tells whether there may be more.
    pub(super) fn receive(&self, heard: &mut Heard) -> io::Result<bool> {
        let received = self.socket.try_io(Interest::READABLE, |socket| {
            // Fewer than asked for: the queue is empty, and asking again would only cost a call.
            let more = beyond_faults(|| heard.receive(socket))?;
            more.then_some(true)
                .ok_or_else(|| io::ErrorKind::WouldBlock.into())
        });
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            received => received,
        }
    }

    /// As [`Self::receive`], also when the runtime has not been told of datagrams yet.
    pub(super) fn receive_now(&self, heard: &mut Heard) -> io::Result<bool> {
        match beyond_faults(|| heard.receive(self.socket.get_ref())) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            received => received,
        }
    }

    /// The next datagram that could not be delivered.
    pub(super) fn next_fault(&self) -> io::Result<Option<Fault>> {
        fault::next(self.socket.get_ref())
    }

    /// Sends as much as the kernel takes. Transfers that cannot be sent to go to `failed`.
    pub(super) fn flush(&mut self, failed: &mut Vec<(Id, io::Error)>) {
        while !self.outbox.is_empty() {
            match beyond_faults(|| self.send_some()) {
                Ok(count) => self.sent(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The device's queue is full: as good as lost on the way.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => self.sent(1),
                Err(_) if self.begins_with_piece() => self.segments = false,
                Err(error) => {
                    let transfer = self.outbox.front().and_then(|out| out.transfer);
                    failed.extend(transfer.map(|id| (id, error)));
                    self.outbox.retain(|out| out.transfer != transfer);
                }
            }
        }
    }

    fn begins_with_piece(&self) -> bool {
        let first = self.outbox.front().map(|out| &out.what);
        self.segments && matches!(first, Some(What::Blocks(blocks)) if blocks.count() > 1)
    }

    /// Datagrams in one call: one piece, or many single ones. Gives how many blocks or packets left.
    fn send_some(&self) -> io::Result<usize> {
        let socket = self.socket.get_ref();
        if self.begins_with_piece()
            && let Some(out) = self.outbox.front()
            && let What::Blocks(blocks) = &out.what
        {
            let headers: Vec<_> = blocks.each().map(|(block, _)| data_header(block)).collect();
            let mut parts = Vec::with_capacity(headers.len() * 2);
            for (header, (_, bytes)) in headers.iter().zip(blocks.each()) {
                parts.extend([IoSlice::new(header), IoSlice::new(bytes)]);
            }
            socket::send_segmented(socket, &parts, blocks.packet_size(), out.to)?;
            return Ok(blocks.count());
        }
        if let Some(sent) = self.send_only()? {
            return Ok(sent);
        }
        let mut headers = Vec::with_capacity(BATCH);
        let mut rest = Vec::with_capacity(BATCH);
        let mut to = Vec::with_capacity(BATCH);
        for out in &self.outbox {
            let address = Some(SockaddrIn::from(out.to));
            match &out.what {
                What::Packet(bytes) => {
                    headers.push(None);
                    rest.push(&bytes[..]);
                    to.push(address);
                }
                What::Blocks(blocks) if self.segments && blocks.count() > 1 => break,
                What::Blocks(blocks) => {
                    for (block, bytes) in blocks.each() {
                        headers.push(Some(data_header(block)));
                        rest.push(bytes);
                        to.push(address);
                    }
                }
            }
            if to.len() >= BATCH {
                break;
            }
        }
        let datagrams: Vec<_> = headers
            .iter()
            .zip(rest)
            .map(|(header, bytes)| {
                let header = header.as_ref().map_or(&[][..], |header| &header[..]);
                [IoSlice::new(header), IoSlice::new(bytes)]
            })
            .collect();
        socket::send_many(socket, &datagrams, &to)
    }

    /// A single datagram, without what it takes to send many.
    fn send_only(&self) -> io::Result<Option<usize>> {
        let (Some(out), 1) = (self.outbox.front(), self.outbox.len()) else {
            return Ok(None);
        };
        let socket = self.socket.get_ref();
        match &out.what {
            What::Packet(bytes) => {
                let parts = [IoSlice::new(bytes), IoSlice::new(&[])];
                socket::send_one(socket, &parts, out.to)?;
            }
            What::Blocks(blocks) if blocks.count() == 1 => {
                let Some((number, bytes)) = blocks.each().next() else {
                    return Ok(None);
                };
                let header = data_header(number);
                let parts = [IoSlice::new(&header), IoSlice::new(bytes)];
                socket::send_one(socket, &parts, out.to)?;
            }
            What::Blocks(_) => return Ok(None),
        }
        Ok(Some(1))
    }

    /// Forgets what has left.
    fn sent(&mut self, mut count: usize) {
        while count > 0 {
            let Some(out) = self.outbox.front_mut() else {
                return;
            };
            if let What::Blocks(blocks) = &mut out.what
                && blocks.count() > count
            {
                blocks.skip(u16::try_from(count).unwrap_or(u16::MAX));
                return;
            }
            count -= match &out.what {
                What::Packet(_) => 1,
                What::Blocks(blocks) => blocks.count(),
            };
            self.outbox.pop_front();
        }
    }
}
