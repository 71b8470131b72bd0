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
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;
use tracing::{debug, trace, warn};

use super::{
    PROXY_PORT,
    decide::{Arrival, Decision, Role, Server, decide},
    interface::{self, Interface, InterfaceError},
    pace::{Pace, Pacer},
    proxy::decide_on_proxy_port,
    relay::RelayPolicy,
    request::{BootRequest, MAX_DATAGRAM},
    sentinel::{Sentinel, ServerMessage},
    socket,
};
use crate::{
    directory::BootDirectory,
    event::{BootEvent, BootEventKind},
    metrics::DhcpMetrics,
};

/// Pause after a failing receive, so that a dead interface does not cost a processor.
const RECEIVE_PAUSE: Duration = Duration::from_millis(200);
/// Datagrams taken from a socket in one go, before the others and the stop are looked at.
const BATCH: usize = 64;

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
    /// Option 42.
    pub ntp: Vec<Ipv4Addr>,
    /// Whether addresses come from us.
    pub role: Role,
    /// Other DHCP servers that are meant to be on our segment; any other is reported.
    pub known_servers: Vec<Ipv4Addr>,
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

/// Bound sockets that have not begun to answer.
#[derive(Debug)]
pub struct DhcpServer {
    socket: UdpSocket,
    /// Port 4011, beside another server.
    proxy: Option<UdpSocket>,
    /// Hears other servers.
    ear: Option<UdpSocket>,
    identity: Server,
    accepts_broadcast: bool,
    relays: RelayPolicy,
    clock: fn() -> Timestamp,
    metrics: DhcpMetrics,
    pacer: Pacer,
    sentinel: Sentinel,
    refused_relays: Sentinel,
}

/// By which of our ports a request came.
#[derive(Debug, Clone, Copy)]
enum Door {
    Server,
    Proxy,
}

impl DhcpServer {
    /// Binds the sockets. Must be called inside a Tokio runtime.
    pub fn bind(config: DhcpConfig, metrics: DhcpMetrics) -> Result<Self, DhcpError> {
        let (address, bind, device) = match config.mode {
            DhcpMode::Interface { name } => on(interface::named(&name)?),
            DhcpMode::AutoInterface { address } => on(interface::holding(address)?),
            DhcpMode::Relay { bind, server } => (server, bind, None),
        };
        let on_port = |port| socket::server(SocketAddrV4::new(bind, port), device.as_ref());
        let socket = on_port(config.port)?;
        let proxy = match config.role {
            Role::Proxy => Some(on_port(PROXY_PORT)?),
            Role::Authority => None,
        };
        let ear = device.as_ref().and_then(|device| {
            let ear = socket::ear(device);
            ear.inspect_err(|error| {
                warn!(error = ?error, interface = device.name, "cannot listen for other DHCP servers");
            })
            .ok()
        });
        let lease_seconds = u32::try_from(config.lease.as_secs()).unwrap_or(u32::MAX);
        Ok(Self {
            socket,
            proxy,
            ear,
            identity: Server {
                address,
                serve_url: config.serve_url,
                lease_seconds,
                domain: config.domain,
                ntp: config.ntp,
                role: config.role,
                known_servers: config.known_servers,
            },
            accepts_broadcast: device.is_some(),
            relays: config.relays,
            clock: config.clock,
            metrics,
            pacer: Pacer::new(),
            sentinel: Sentinel::default(),
            refused_relays: Sentinel::default(),
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
    pub async fn run(mut self, directory: Arc<dyn BootDirectory>, shutdown: CancellationToken) {
        // One byte more than any message, so that a longer datagram is seen to be too long.
        let mut buffer = [0_u8; MAX_DATAGRAM + 1];
        loop {
            let ready = tokio::select! {
                () = shutdown.cancelled() => return,
                ready = self.socket.readable() => ready,
                ready = readable(self.proxy.as_ref()) => ready,
                ready = readable(self.ear.as_ref()) => ready,
            };
            let drained = match ready {
                Ok(()) => self.drain(directory.as_ref(), &mut buffer).await,
                Err(error) => Err(error),
            };
            if let Err(error) = drained {
                self.metrics.receive_errors.inc();
                warn!(%error, "could not receive a DHCP datagram, will go on");
                tokio::time::sleep(RECEIVE_PAUSE).await;
            }
        }
    }

    /// Takes a batch from each socket that has one. Waking up costs more than receiving, and a rack
    /// that is switched on sends all at once.
    async fn drain(&mut self, directory: &dyn BootDirectory, buffer: &mut [u8]) -> io::Result<()> {
        for door in [Door::Server, Door::Proxy] {
            for _ in 0..BATCH {
                let Some((length, peer)) = received(self.socket_of(door), buffer)? else {
                    break;
                };
                let datagram = buffer.get(..length).unwrap_or_default();
                self.answer(door, directory, datagram, peer).await;
            }
        }
        for _ in 0..BATCH {
            let Some((length, peer)) = received(self.ear.as_ref(), buffer)? else {
                break;
            };
            let datagram = buffer.get(..length).unwrap_or_default();
            self.overhear(directory, datagram, peer);
        }
        Ok(())
    }

    const fn socket_of(&self, door: Door) -> Option<&UdpSocket> {
        match door {
            Door::Server => Some(&self.socket),
            Door::Proxy => self.proxy.as_ref(),
        }
    }

    async fn answer(
        &mut self,
        door: Door,
        directory: &dyn BootDirectory,
        datagram: &[u8],
        peer: SocketAddrV4,
    ) {
        let now = (self.clock)();
        let pace = BootRequest::peek(datagram).map(|(mac, xid)| self.pacer.admit(mac, xid, now));
        if pace == Some(Pace::Drop) {
            self.metrics.refused("rate_limited");
            return;
        }
        let request = match BootRequest::parse(datagram) {
            Ok(request) => request,
            Err(refusal) => {
                self.metrics.refused(refusal.label());
                trace!(%peer, reason = refusal.label(), "dropped a datagram");
                return;
            }
        };
        self.metrics.received(request.kind.label());
        if let Err(outcome) = self.admits(&request, now) {
            self.metrics.outcome(outcome);
            trace!(%peer, giaddr = %request.giaddr, "dropped a request from outside");
            return;
        }
        let arrival = Arrival {
            now,
            peer,
            tell: pace == Some(Pace::Tell),
        };
        let decision = match door {
            Door::Server => decide(arrival, &self.identity, directory, &request),
            Door::Proxy => decide_on_proxy_port(arrival, &self.identity, directory, &request),
        };
        self.carry_out(door, directory, &request, decision).await;
    }

    async fn carry_out(
        &mut self,
        door: Door,
        directory: &dyn BootDirectory,
        request: &BootRequest,
        decision: Decision,
    ) {
        let mut outcome = decision.outcome;
        let mut events = decision.events;
        if let (Some(reply), Some(socket)) = (&decision.reply, self.socket_of(door))
            && let Err(error) = send(socket, &reply.bytes, reply.to).await
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
            if self.is_worth_telling(&event) {
                directory.record(event);
            }
        }
    }

    /// What strangers can cause without end is told at a bounded rate.
    fn is_worth_telling(&mut self, event: &BootEvent) -> bool {
        if let BootEventKind::ForeignServer { server, sent, .. } = &event.kind {
            self.metrics.foreign(sent.label());
            return self.sentinel.is_news(event.at, *server, event.mac);
        }
        event.machine.is_some() || self.pacer.admit_unknown(event.at)
    }

    /// Looks at what another server told a client.
    fn overhear(&mut self, directory: &dyn BootDirectory, datagram: &[u8], peer: SocketAddrV4) {
        let Some(seen) = ServerMessage::parse(datagram, *peer.ip()) else {
            return;
        };
        if !self.identity.is_foreign(seen.server) || !self.identity.is_foreign(*peer.ip()) {
            return;
        }
        let machine = seen.mac.and_then(|mac| directory.by_mac(mac));
        let event = BootEvent {
            machine: machine.map(|machine| machine.name.clone()),
            mac: seen.mac,
            ip: seen.address,
            at: (self.clock)(),
            kind: BootEventKind::ForeignServer {
                server: seen.server,
                sent: seen.sent,
                address: seen.address,
            },
        };
        if self.is_worth_telling(&event) {
            warn!(
                server = %seen.server,
                sent = seen.sent.label(),
                "another DHCP server answers on this segment"
            );
            directory.record(event);
        }
    }

    /// Without an interface a broadcast cannot be answered: only relays and renewals pass.
    fn admits(&mut self, request: &BootRequest, now: Timestamp) -> Result<(), &'static str> {
        let direct = request.is_relayed() || !request.ciaddr.is_unspecified();
        if !self.accepts_broadcast && !direct {
            return Err("not_admitted");
        }
        if self.relays.admits(request.giaddr) {
            return Ok(());
        }
        if self.refused_relays.is_news(now, request.giaddr, None) {
            warn!(
                giaddr = %request.giaddr,
                "a DHCP relay that is not listed asks; to answer it, add it to dhcp.relays"
            );
        }
        Err("relay_refused")
    }
}

fn on(interface: Interface) -> (Ipv4Addr, Ipv4Addr, Option<Interface>) {
    (interface.address, Ipv4Addr::UNSPECIFIED, Some(interface))
}

/// Until there is something to receive; for ever without a socket.
async fn readable(socket: Option<&UdpSocket>) -> io::Result<()> {
    match socket {
        Some(socket) => socket.readable().await,
        None => std::future::pending().await,
    }
}

/// The next datagram, if one is waiting.
fn received(
    socket: Option<&UdpSocket>,
    buffer: &mut [u8],
) -> io::Result<Option<(usize, SocketAddrV4)>> {
    let Some(socket) = socket else {
        return Ok(None);
    };
    match socket.try_recv_from(buffer) {
        Ok((length, SocketAddr::V4(peer))) => Ok(Some((length, peer))),
        // An IPv4 socket has IPv4 peers.
        Ok((_, SocketAddr::V6(_))) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends now, or as soon as there is room.
async fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddrV4) -> io::Result<()> {
    match socket.try_send_to(bytes, to.into()) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            socket.send_to(bytes, to).await.map(drop)
        }
        sent => sent.map(drop),
    }
}
