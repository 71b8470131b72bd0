//! The DHCP socket: receive, decide, send, record.
//!
//! Not a place for rules. Invariant: every datagram is counted, either by the reason it was dropped
//! for or by its kind and its outcome, and no datagram or send error ends the loop.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;
use tracing::{debug, trace, warn};

use super::{
    decide::{Server, decide},
    interface::{self, Interface, InterfaceError},
    relay::RelayPolicy,
    request::{BootRequest, MAX_DATAGRAM},
};
use crate::{directory::BootDirectory, metrics::DhcpMetrics};

/// Room for the requests of a whole rack that is switched on at once.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Pause after a failing receive, so that a dead interface does not cost a processor.
const RECEIVE_PAUSE: Duration = Duration::from_millis(200);

/// How clients reach us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DhcpMode {
    /// Broadcasts on this interface, and relays.
    Interface {
        /// Such as `br0`.
        name: String,
    },
    /// As `Interface`, on whichever interface holds this address.
    AutoInterface {
        /// The address to serve from.
        address: Ipv4Addr,
    },
    /// Relays and renewing clients only; broadcasts are ignored.
    Relay {
        /// Where to listen; may be 0.0.0.0.
        bind: Ipv4Addr,
        /// Under which address clients and relays know us.
        server: Ipv4Addr,
    },
}

/// Everything the server needs to start.
#[derive(Debug, Clone)]
pub struct DhcpConfig {
    /// How clients reach us.
    pub mode: DhcpMode,
    /// UDP port, 67 in real life.
    pub port: u16,
    /// `http://host:port` of the boot files.
    pub serve_url: String,
    /// Lease time told to clients.
    pub lease: Duration,
    /// Option 15.
    pub domain: Option<String>,
    /// Which relays are answered.
    pub relays: RelayPolicy,
    /// The process's one clock.
    pub clock: fn() -> Timestamp,
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// There is no such interface or address.
    #[error("cannot choose the DHCP interface")]
    Interface(#[from] InterfaceError),
    /// A socket call failed; often the port is taken or the process lacks CAP_NET_BIND_SERVICE or
    /// CAP_NET_RAW.
    #[error("cannot {call} for DHCP on {address}")]
    Socket {
        /// What was tried.
        call: &'static str,
        /// The socket's address.
        address: SocketAddrV4,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// A bound socket that has not begun to answer.
#[derive(Debug)]
pub struct DhcpServer {
    socket: UdpSocket,
    identity: Server,
    accepts_broadcast: bool,
    relays: RelayPolicy,
    clock: fn() -> Timestamp,
    metrics: DhcpMetrics,
}

impl DhcpServer {
    /// Binds the socket. Must be called inside a Tokio runtime.
    pub fn bind(config: DhcpConfig, metrics: DhcpMetrics) -> Result<Self, DhcpError> {
        let (address, bind, device) = match config.mode {
            DhcpMode::Interface { name } => on(interface::named(&name)?),
            DhcpMode::AutoInterface { address } => on(interface::holding(address)?),
            DhcpMode::Relay { bind, server } => (server, bind, None),
        };
        let socket = open(SocketAddrV4::new(bind, config.port), device.as_ref())?;
        let lease_seconds = u32::try_from(config.lease.as_secs()).unwrap_or(u32::MAX);
        Ok(Self {
            socket,
            identity: Server {
                address,
                serve_url: config.serve_url,
                lease_seconds,
                domain: config.domain,
            },
            accepts_broadcast: device.is_some(),
            relays: config.relays,
            clock: config.clock,
            metrics,
        })
    }

    /// The address told to clients.
    pub fn address(&self) -> Ipv4Addr {
        self.identity.address
    }

    /// Where the socket is bound.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Answers until `shutdown` is cancelled.
    pub async fn run(self, directory: Arc<dyn BootDirectory>, shutdown: CancellationToken) {
        // One byte more than any message, so that a longer datagram is seen to be too long.
        let mut buffer = [0_u8; MAX_DATAGRAM + 1];
        loop {
            let received = tokio::select! {
                () = shutdown.cancelled() => return,
                received = self.socket.recv_from(&mut buffer) => received,
            };
            match received {
                Ok((length, peer)) => {
                    let datagram = buffer.get(..length).unwrap_or_default();
                    self.answer(directory.as_ref(), datagram, peer).await;
                }
                Err(error) => {
                    self.metrics.receive_errors.inc();
                    warn!(%error, "could not receive a DHCP datagram, will go on");
                    tokio::time::sleep(RECEIVE_PAUSE).await;
                }
            }
        }
    }

    async fn answer(&self, directory: &dyn BootDirectory, datagram: &[u8], peer: SocketAddr) {
        let request = match BootRequest::parse(datagram) {
            Ok(request) => request,
            Err(refusal) => {
                self.metrics.refused(refusal.label());
                trace!(%peer, reason = refusal.label(), "dropped a datagram");
                return;
            }
        };
        self.metrics.received(request.kind.label());
        if !self.admits(&request) {
            self.metrics.outcome("not_admitted");
            trace!(%peer, giaddr = %request.giaddr, "dropped a request from outside");
            return;
        }
        let decision = decide((self.clock)(), &self.identity, directory, &request);
        let mut outcome = decision.outcome;
        let mut events = decision.events;
        if let Some(reply) = &decision.reply
            && let Err(error) = self.socket.send_to(&reply.bytes, reply.to).await
        {
            outcome = "send_failed";
            // What the client asked did happen; what we would have said did not.
            events.truncate(1);
            warn!(%error, to = %reply.to, machine.mac = %request.mac, "could not send a DHCP reply");
        }
        self.metrics.outcome(outcome);
        debug!(
            machine.mac = %request.mac,
            dhcp.xid = request.xid,
            kind = request.kind.label(),
            outcome,
            "decided a DHCP request"
        );
        for event in events {
            directory.record(event);
        }
    }

    /// Without an interface a broadcast cannot be answered: only relays and renewals pass.
    fn admits(&self, request: &BootRequest) -> bool {
        let direct = request.is_relayed() || !request.ciaddr.is_unspecified();
        (self.accepts_broadcast || direct) && self.relays.admits(request.giaddr)
    }
}

fn on(interface: Interface) -> (Ipv4Addr, Ipv4Addr, Option<Interface>) {
    (interface.address, Ipv4Addr::UNSPECIFIED, Some(interface))
}

fn open(address: SocketAddrV4, device: Option<&Interface>) -> Result<UdpSocket, DhcpError> {
    let failed = |call| {
        move |source| DhcpError::Socket {
            call,
            address,
            source,
        }
    };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
        .map_err(failed("open a socket"))?;
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
        .set_nonblocking(true)
        .map_err(failed("configure the socket"))?;
    socket
        .bind(&address.into())
        .map_err(failed("bind the socket"))?;
    UdpSocket::from_std(socket.into()).map_err(failed("register the socket"))
}
