//! The request port: who may start a transfer, and which transfers there are.
//!
//! Not the transfer itself. Invariant: at most `max_transfers` run at once and `max_per_host` for
//! one address; one client port has at most one.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{net::UdpSocket, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{trace, warn};

use super::{
    packet::{self, ErrorCode},
    request::{MAX_REQUEST, OptionLimits, ReadRequest},
    socket::{self, Received},
    transfer::{Shared, Transfer},
};
use crate::{directory::BootDirectory, metrics::TftpMetrics, source::FileSource};

/// The same request again within this time is an impatient client, not a new transfer.
const REPEAT: Duration = Duration::from_millis(200);
const RECEIVE_PAUSE: Duration = Duration::from_millis(200);

/// Everything the server needs to start.
#[derive(Debug, Clone)]
pub struct TftpConfig {
    /// UDP address; port 69 in real life. With 0.0.0.0, answers come from the address asked.
    pub bind: SocketAddrV4,
    /// What clients may negotiate.
    pub limits: OptionLimits,
    /// Transfers at once; further requests get an ERROR.
    pub max_transfers: usize,
    /// Transfers at once of one client address.
    pub max_per_host: usize,
    /// The process's one clock.
    pub clock: fn() -> Timestamp,
}

impl TftpConfig {
    /// The usual limits.
    pub fn new(bind: SocketAddrV4, clock: fn() -> Timestamp) -> Self {
        Self {
            bind,
            limits: OptionLimits::default(),
            max_transfers: 1024,
            max_per_host: 16,
            clock,
        }
    }
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for TFTP on {address}")]
pub struct TftpError {
    address: SocketAddrV4,
    #[source]
    source: io::Error,
}

/// A bound request port that has not begun to answer.
#[derive(Debug)]
pub struct TftpServer {
    socket: UdpSocket,
    config: TftpConfig,
    metrics: TftpMetrics,
}

/// A running transfer, as the request port sees it.
struct Running {
    id: u64,
    request: ReadRequest,
    since: Instant,
    established: Arc<AtomicBool>,
    stop: CancellationToken,
}

/// All running transfers by client port.
#[derive(Default)]
struct Table {
    by_peer: HashMap<SocketAddrV4, Running>,
    tasks: JoinSet<(SocketAddrV4, u64)>,
    per_host: HashMap<Ipv4Addr, usize>,
    last_id: u64,
}

impl TftpServer {
    /// Binds the request port. Must be called inside a Tokio runtime.
    pub fn bind(config: TftpConfig, metrics: TftpMetrics) -> Result<Self, TftpError> {
        let socket = socket::listen(config.bind).map_err(|source| TftpError {
            address: config.bind,
            source,
        })?;
        Ok(Self {
            socket,
            config,
            metrics,
        })
    }

    /// Where the request port is.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `shutdown` is cancelled; then stops all transfers and waits for them.
    pub async fn run(
        self,
        directory: Arc<dyn BootDirectory>,
        source: Arc<dyn FileSource>,
        shutdown: CancellationToken,
    ) {
        let shared = Arc::new(Shared {
            directory,
            source,
            limits: self.config.limits,
            metrics: self.metrics.clone(),
            clock: self.config.clock,
        });
        let mut table = Table::default();
        // One byte more than a request may have, so that a longer one is seen to be too long.
        let mut buffer = [0_u8; MAX_REQUEST + 1];
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ended) = table.tasks.join_next() => table.ended(ended.ok()),
                received = socket::receive(&self.socket, &mut buffer) => match received {
                    Ok(received) => {
                        let datagram = buffer.get(..received.length).unwrap_or_default();
                        self.accept(&shared, &mut table, received, datagram, &shutdown).await;
                    }
                    Err(error) => {
                        self.metrics.receive_errors.inc();
                        warn!(%error, "could not receive a TFTP request, will go on");
                        tokio::time::sleep(RECEIVE_PAUSE).await;
                    }
                },
            }
            self.metrics
                .active
                .set(i64::try_from(table.by_peer.len()).unwrap_or(i64::MAX));
        }
        while table.tasks.join_next().await.is_some() {}
        self.metrics.active.set(0);
    }

    async fn accept(
        &self,
        shared: &Arc<Shared>,
        table: &mut Table,
        received: Received,
        datagram: &[u8],
        shutdown: &CancellationToken,
    ) {
        let request = match ReadRequest::parse(datagram) {
            Ok(request) => request,
            Err(refusal) => {
                self.metrics.refused(refusal.label());
                if let Some(code) = refusal.code() {
                    self.refuse(received, code, &refusal.to_string()).await;
                }
                return;
            }
        };
        if table.is_repeated(received.peer, &request) {
            self.metrics.refused("repeated");
            return;
        }
        table.forget(received.peer);
        let of_host = table
            .per_host
            .get(received.peer.ip())
            .copied()
            .unwrap_or_default();
        if table.tasks.len() >= self.config.max_transfers || of_host >= self.config.max_per_host {
            self.metrics.refused("busy");
            self.refuse(
                received,
                ErrorCode::NotDefined,
                "too many transfers, try again",
            )
            .await;
            return;
        }
        table.start(shared, received, request, shutdown);
    }

    async fn refuse(&self, received: Received, code: ErrorCode, text: &str) {
        let packet = packet::error(code, text);
        let sent = match socket::connect(received.local, received.peer).await {
            Ok(socket) => socket.send(&packet).await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            trace!(peer = %received.peer, %error, "could not refuse a request");
        }
    }
}

impl Table {
    /// Whether this is a resend of a request that is being answered. A client that reuses its port
    /// for another file, or comes back later, starts over instead.
    fn is_repeated(&self, peer: SocketAddrV4, request: &ReadRequest) -> bool {
        self.by_peer.get(&peer).is_some_and(|running| {
            running.request == *request
                && !running.established.load(Ordering::Relaxed)
                && running.since.elapsed() < REPEAT
        })
    }

    /// Stops the transfer of this client port, if there is one.
    fn forget(&mut self, peer: SocketAddrV4) {
        if let Some(running) = self.by_peer.remove(&peer) {
            running.stop.cancel();
            self.release(*peer.ip());
        }
    }

    fn start(
        &mut self,
        shared: &Arc<Shared>,
        received: Received,
        request: ReadRequest,
        shutdown: &CancellationToken,
    ) {
        self.last_id += 1;
        let (id, peer) = (self.last_id, received.peer);
        let running = Running {
            id,
            request: request.clone(),
            since: Instant::now(),
            established: Arc::new(AtomicBool::new(false)),
            stop: shutdown.child_token(),
        };
        let transfer = Transfer {
            request,
            peer,
            local: received.local,
            stop: running.stop.clone(),
            established: Arc::clone(&running.established),
        };
        let shared = Arc::clone(shared);
        self.tasks.spawn(async move {
            transfer.run(shared).await;
            (peer, id)
        });
        self.by_peer.insert(peer, running);
        *self.per_host.entry(*peer.ip()).or_default() += 1;
    }

    /// A task has ended; it may have been replaced on its port meanwhile.
    fn ended(&mut self, ended: Option<(SocketAddrV4, u64)>) {
        if let Some((peer, id)) = ended
            && self
                .by_peer
                .get(&peer)
                .is_some_and(|running| running.id == id)
        {
            self.by_peer.remove(&peer);
            self.release(*peer.ip());
        }
    }

    fn release(&mut self, host: Ipv4Addr) {
        if let Some(count) = self.per_host.get_mut(&host) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_host.remove(&host);
            }
        }
    }
}
