//! Accept loops: who gets a place, who loses it, and how they end.
//!
//! Invariant: a place belongs to a task and is free again when that task has ended in whatever
//! way, and when a loop returns, no task of it is left.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::BootConnection;
use super::general;
use super::waiting::Waiting;
use crate::metrics::HttpMetrics;

/// Limits of an HTTP server.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Connections at once; when all are taken, the one that has been silent longest gives way.
    pub max_connections: usize,
    /// Connections at once from one address; further ones are reset.
    pub max_per_peer: usize,
    /// From the end of one answer (or the start) to the last byte of the next request's header.
    pub header_read_timeout: Duration,
    /// How long sent data may stay unacknowledged.
    pub silence_timeout: Duration,
    /// Window over which a slow client is measured.
    pub slow_window: Duration,
    /// Bytes it has to take in that window.
    pub min_window_bytes: u64,
    /// How long running answers may take after shutdown was asked for.
    pub drain_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_connections: 16 << 10,
            max_per_peer: 64,
            header_read_timeout: Duration::from_secs(15),
            silence_timeout: Duration::from_secs(15),
            slow_window: Duration::from_secs(30),
            min_window_bytes: 64 << 10,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Serves `router` on `listener` until `shutdown` is cancelled, then lets running answers finish
/// within the drain time. Requests carry `ConnectInfo<SocketAddr>` with the peer's address.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: HttpLimits,
    shutdown: CancellationToken,
) {
    let door = Door::new(&limits, None);
    let stop = shutdown.clone();
    accept(listener, door, shutdown, move |stream, peer, _waiting| {
        let (router, limits, stop) = (router.clone(), limits.clone(), stop.clone());
        async move {
            let served = async {
                let stream = BootConnection::new(stream, Vec::new(), &limits)?;
                general::serve(stream, peer, router, limits, stop).await
            };
            if let Err(error) = served.await {
                tracing::debug!(%peer, error = %error, "connection ended early");
            }
        }
    })
    .await;
}

/// Accepts until `stop`; `connection` makes the task of each connection that gets a place.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    mut door: Door,
    stop: CancellationToken,
    mut connection: impl FnMut(TcpStream, SocketAddr, Arc<Waiting>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let epoch = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = tasks.join_next_with_id() => door.left(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if !door.admits(peer.ip()) {
                        reset(stream);
                        continue;
                    }
                    let waiting = Arc::new(Waiting::new(epoch));
                    let task = tasks.spawn(connection(stream, peer, Arc::clone(&waiting)));
                    door.entered(peer.ip(), task, waiting);
                }
                Err(error) => {
                    tracing::warn!(error = %error, "could not accept a connection, will retry");
                    // Perhaps all descriptors are in use.
                    door.make_room();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    let drain_timeout = door.drain_timeout;
    let drained = async {
        while let Some(ended) = tasks.join_next_with_id().await {
            door.left(ended);
        }
    };
    if tokio::time::timeout(drain_timeout, drained).await.is_err() {
        tasks.shutdown().await;
    }
}

/// Who is inside.
pub(crate) struct Door {
    max_connections: usize,
    max_per_peer: usize,
    drain_timeout: Duration,
    metrics: Option<HttpMetrics>,
    places: HashMap<Id, Place>,
    per_peer: HashMap<IpAddr, usize>,
}

struct Place {
    peer: IpAddr,
    task: AbortHandle,
    waiting: Arc<Waiting>,
}

impl Door {
    pub(crate) fn new(limits: &HttpLimits, metrics: Option<HttpMetrics>) -> Self {
        Self {
            max_connections: limits.max_connections,
            max_per_peer: limits.max_per_peer,
            drain_timeout: limits.drain_timeout,
            metrics,
            places: HashMap::new(),
            per_peer: HashMap::new(),
        }
    }

    fn admits(&mut self, peer: IpAddr) -> bool {
        let open = self.per_peer.get(&peer).copied().unwrap_or(0);
        if open >= self.max_per_peer {
            tracing::debug!(%peer, "too many connections from one address");
            self.refused("peer");
            return false;
        }
        if self.places.len() >= self.max_connections && !self.make_room() {
            tracing::warn!(%peer, "no place for a connection");
            self.refused("full");
            return false;
        }
        true
    }

    fn entered(&mut self, peer: IpAddr, task: AbortHandle, waiting: Arc<Waiting>) {
        *self.per_peer.entry(peer).or_default() += 1;
        let place = Place {
            peer,
            task,
            waiting,
        };
        self.places.insert(place.task.id(), place);
        if let Some(metrics) = &self.metrics {
            metrics.active.inc();
        }
    }

    /// Ends the connection that has been waiting longest for its client, if any waits.
    fn make_room(&mut self) -> bool {
        let waits = |place: &Place| Some((place.waiting.since()?, place.task.id()));
        let Some((_, longest)) = self.places.values().filter_map(waits).min() else {
            return false;
        };
        if let Some(place) = self.places.get(&longest) {
            place.waiting.end();
            place.task.abort();
            self.refused("idle");
        }
        true
    }

    fn left(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(error = %error, "a connection task died");
                }
                error.id()
            }
        };
        let Some(place) = self.places.remove(&id) else {
            return;
        };
        if let Some(open) = self.per_peer.get_mut(&place.peer) {
            *open -= 1;
            if *open == 0 {
                self.per_peer.remove(&place.peer);
            }
        }
        if let Some(metrics) = &self.metrics {
            metrics.active.dec();
        }
    }

    fn refused(&self, reason: &'static str) {
        if let Some(metrics) = &self.metrics {
            metrics.refused(reason);
        }
    }
}

/// Refuses a connection without leaving state behind.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok();
    drop(stream);
}
