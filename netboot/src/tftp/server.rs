//! The TFTP server: its settings, and the one task that runs it.
//!
//! Not the transfers: `engine` has them. Invariant: the task waits in one place only, for whatever
//! comes first.

use std::{
    future::poll_fn,
    io,
    net::{SocketAddr, SocketAddrV4},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{io::Interest, net::UdpSocket};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    engine::Engine,
    request::{MAX_REQUEST, OptionLimits},
    socket,
};
use crate::{directory::BootDirectory, metrics::TftpMetrics, source::FileSource};

/// Requests taken before transfers have their turn again.
const REQUESTS: usize = 64;
const RECEIVE_PAUSE: Duration = Duration::from_millis(200);

/// Everything the server needs to start.
#[derive(Debug, Clone)]
pub struct TftpConfig {
    /// UDP address; port 69 in real life. With 0.0.0.0, answers come from the address asked.
    pub bind: SocketAddrV4,
    /// What clients may negotiate.
    pub limits: OptionLimits,
    /// Transfers at once. When all places are taken, the oldest request that nobody followed gives
    /// way; if there is none, further requests get an ERROR.
    pub max_transfers: usize,
    /// Transfers at once of one client address, by the same rule.
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
            max_transfers: 4096,
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

/// What all transfers share.
pub(super) struct Shared {
    pub(super) directory: Arc<dyn BootDirectory>,
    pub(super) source: Arc<dyn FileSource>,
    pub(super) limits: OptionLimits,
    pub(super) metrics: TftpMetrics,
    pub(super) clock: fn() -> Timestamp,
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

    /// Serves until `shutdown` is cancelled; then stops all transfers and says so to their clients.
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
        let config = &self.config;
        let mut engine = Engine::new(shared, config.max_transfers, config.max_per_host);
        // These outlive a turn: to register them anew for each datagram would cost more than the rest.
        let stopped = shutdown.cancelled();
        let readable = self.socket.readable();
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(stopped, readable, timer);
        let mut armed = None;
        loop {
            let wake = engine.next_timeout();
            if let Some(wake) = wake.filter(|_| wake != armed) {
                timer.as_mut().reset(wake.into());
            }
            armed = wake;
            let ports = &mut engine.ports;
            tokio::select! {
                () = stopped.as_mut() => break,
                news = poll_fn(|context| ports.poll_news(context)) => {
                    engine.on_news(Instant::now(), news);
                }
                Some(done) = engine.jobs.join_next() => engine.on_job(Instant::now(), done.ok()),
                ready = readable.as_mut() => {
                    readable.set(self.socket.readable());
                    if let Err(error) = ready.and_then(|()| self.requests(&mut engine)) {
                        self.metrics.receive_errors.inc();
                        warn!(%error, "could not receive a TFTP request, will go on");
                        tokio::time::sleep(RECEIVE_PAUSE).await;
                    }
                }
                () = timer.as_mut(), if armed.is_some() => {
                    armed = None;
                    engine.on_time(Instant::now());
                }
            }
            engine.flush();
            self.metrics.active.set(engine.count());
            if !engine.jobs.is_empty() {
                // Files are being opened for others: perhaps by this very thread, or by one that waits
                // for this processor, which it would not get from a thread of real-time priority.
                std::thread::yield_now();
                tokio::task::yield_now().await;
            }
        }
        engine.stop();
        self.metrics.active.set(0);
    }

    /// Takes the requests that wait.
    fn requests(&self, engine: &mut Engine) -> io::Result<()> {
        // One byte more than a request may have, so that a longer one is seen to be too long.
        let mut buffer = [0_u8; MAX_REQUEST + 1];
        for _ in 0..REQUESTS {
            let received = self.socket.try_io(Interest::READABLE, || {
                socket::receive_request(&self.socket, &mut buffer)
            });
            match received {
                Ok(received) => {
                    let datagram = buffer.get(..received.length).unwrap_or_default();
                    engine.on_request(Instant::now(), received, datagram);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
