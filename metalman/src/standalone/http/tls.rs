//! The TLS listener: accepts, limits, serves HTTP/1.1 and HTTP/2, and drains on shutdown.
//!
//! Invariant: no connection can hold a slot without finishing its handshake, sending a request head
//! in time, and taking what it is sent.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);
const PING_PERIOD: Duration = Duration::from_secs(30);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const STREAMS_PER_CONNECTION: u32 = 500;
/// A client that takes nothing of what waits for it for so long is cut off, unless told otherwise.
pub const STALL: Duration = Duration::from_secs(60);

/// Limits of the listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections; more wait in the kernel's queue.
    pub connections: usize,
    /// How long a client may leave what it is sent in its queue, or not answer at all.
    pub stall: Duration,
}

/// Serves until `shutdown`, then drains for a few seconds. New connections use the newest `tls`.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ArcSwap<rustls::ServerConfig>>,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            permit = Arc::clone(&slots).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (tls, router, watcher) = (
                    TlsAcceptor::from(tls.load_full()),
                    router.clone(),
                    graceful.watcher(),
                );
                connections.spawn(async move {
                    if let Err(error) = connection(stream, tls, router, watcher, limits.stall).await
                    {
                        tracing::debug!(%peer, %error, "API connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors or the like: let others finish before the next try.
                tracing::warn!(%error, "cannot accept an API connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::debug!("API connections did not drain in time");
    }
    connections.shutdown().await;
}

async fn connection(
    stream: TcpStream,
    tls: TlsAcceptor,
    router: Router,
    watcher: Watcher,
    stall: Duration,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    // Counts while the client's window is closed, too (tcp(7), RFC 5482).
    let stall = u32::try_from(stall.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(&stream, stall)?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await??;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_PERIOD)
        .max_concurrent_streams(STREAMS_PER_CONNECTION);
    let service = TowerToHyperService::new(router);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    watcher.watch(connection.into_owned()).await
}
