//! The accept loop for boot clients.
//!
//! Not a general web server: HTTP/1.1 only, many small limits. Invariant: when [`serve`] returns,
//! no task of it is left.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::connection::BootConnection;

/// Limits of the boot HTTP server.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Connections at once; further ones wait in the kernel's queue.
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
            max_connections: 2048,
            max_per_peer: 64,
            header_read_timeout: Duration::from_secs(15),
            silence_timeout: Duration::from_secs(15),
            slow_window: Duration::from_secs(30),
            min_window_bytes: 64 << 10,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Largest request header.
const HEADER_BYTES: usize = 16 << 10;

/// Serves `router` on `listener` until `shutdown` is cancelled, then lets running answers finish
/// within the drain time. Requests carry `ConnectInfo<SocketAddr>` with the peer's address.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: HttpLimits,
    shutdown: CancellationToken,
) {
    let mut connections = JoinSet::new();
    let mut per_peer: HashMap<IpAddr, usize> = HashMap::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => ended_connection(&mut per_peer, ended),
            accepted = listener.accept(), if connections.len() < limits.max_connections => {
                match accepted {
                    Ok((stream, peer)) => {
                        let open = per_peer.entry(peer.ip()).or_default();
                        if *open >= limits.max_per_peer {
                            tracing::debug!(%peer, "too many connections from one address");
                            reset(stream);
                            continue;
                        }
                        *open += 1;
                        connections.spawn(connection(
                            stream, peer, router.clone(), limits.clone(), shutdown.clone(),
                        ));
                    }
                    Err(error) => {
                        tracing::warn!(error = %error, "could not accept a connection, will retry");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain_timeout, drained)
        .await
        .is_err()
    {
        connections.shutdown().await;
    }
}

fn ended_connection(
    per_peer: &mut HashMap<IpAddr, usize>,
    ended: Result<IpAddr, tokio::task::JoinError>,
) {
    match ended {
        Ok(peer) => {
            if let Some(open) = per_peer.get_mut(&peer) {
                *open -= 1;
                if *open == 0 {
                    per_peer.remove(&peer);
                }
            }
        }
        // A panic in a handler costs its peer one of its places until the next start.
        Err(error) => tracing::error!(error = %error, "a connection task died"),
    }
}

/// Refuses a connection without leaving state behind.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok();
    drop(stream);
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: HttpLimits,
    shutdown: CancellationToken,
) -> IpAddr {
    let stream = match BootConnection::new(
        stream,
        limits.silence_timeout,
        limits.slow_window,
        limits.min_window_bytes,
    ) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%peer, error = %error, "connection was gone before it began");
            return peer.ip();
        }
    };
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request.map(Body::new))
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_header_size(HEADER_BYTES)
        .max_headers(64)
        // GRUB 2.06 knows `Content-Length` in no other spelling.
        .title_case_headers(true)
        .keep_alive(true);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%peer, error = %error, "connection ended early");
    }
    peer.ip()
}

#[cfg(test)]
mod tests;
