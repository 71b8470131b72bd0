//! Accept loops: TLS for BMCs, plain for the admin plane.
//!
//! An answer that carries [`CutConnection`] is not sent; the connection is closed instead. How a BMC meets
//! connections is the matter of its [`Line`](crate::line::Line) and may change at any time; connections that are open
//! end when it does.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::bmc::Bmc;
use crate::line::Door;
use crate::service;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(50);
/// Connections that may wait to be accepted: a fleet is called all at once.
const BACKLOG: u32 = 1024;

/// Marks an answer that must not be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CutConnection;

#[derive(Debug, thiserror::Error)]
#[error("connection cut on purpose")]
struct Cut;

/// Opens a port that can be closed and opened again.
pub(crate) fn listen(address: SocketAddr, backlog: u32) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Opens the port of a BMC.
pub(crate) fn listen_bmc(address: SocketAddr) -> std::io::Result<TcpListener> {
    listen(address, BACKLOG)
}

/// Serves the admin plane until cancelled; then every connection is dropped.
pub(crate) async fn run_admin(listener: TcpListener, router: Router, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let router = router.clone();
                connections.spawn(http(stream, move |request| {
                    let answer = router.clone().oneshot(request);
                    async move {
                        let answer: Result<Response<Body>, Infallible> = answer.await;
                        match answer {
                            Ok(response) => response,
                            Err(never) => match never {},
                        }
                    }
                }));
            }
        }
    }
}

/// Serves a BMC until cancelled; then every connection is dropped.
pub(crate) async fn run_bmc(listener: TcpListener, bmc: Arc<Bmc>, stop: CancellationToken) {
    let Ok(address) = listener.local_addr() else {
        return;
    };
    let mut door = bmc.line.door();
    let mut listener = Some(listener);
    while !stop.is_cancelled() {
        let wanted = *door.borrow_and_update();
        let met = async {
            match wanted {
                Door::Open | Door::HalfOpen | Door::Reset => {
                    let open = match listener.take() {
                        Some(open) => open,
                        None => reopened(address, BACKLOG).await,
                    };
                    meet(&open, wanted, &bmc).await;
                }
                Door::Refused => {
                    listener = None;
                    std::future::pending::<()>().await;
                }
                Door::Dropped => {
                    listener = None;
                    let full = reopened(address, 0).await;
                    let mut waiting = JoinSet::new();
                    // One connection fills a queue of length 0; the kernel drops the SYN of the others.
                    for _ in 0..2 {
                        waiting.spawn(async move {
                            let held = TcpStream::connect(address).await;
                            std::future::pending::<()>().await;
                            drop(held);
                        });
                    }
                    std::future::pending::<()>().await;
                    drop(full);
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            _ = door.changed() => {}
            () = met => {}
        }
    }
}

async fn reopened(address: SocketAddr, backlog: u32) -> TcpListener {
    loop {
        match listen(address, backlog) {
            Ok(listener) => return listener,
            Err(error) => {
                warn!(%address, %error, "port is not free");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Takes connections; ends never, but may be dropped at any time.
async fn meet(listener: &TcpListener, door: Door, bmc: &Arc<Bmc>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    bmc.line.count_connection();
                    match door {
                        Door::Open => {
                            connections.spawn(connection(stream, Arc::clone(bmc)));
                        }
                        Door::Reset => {
                            // Closing with a linger of zero sends RST.
                            stream.set_zero_linger().ok();
                        }
                        Door::HalfOpen | Door::Refused | Door::Dropped => {
                            connections.spawn(async move {
                                std::future::pending::<()>().await;
                                drop(stream);
                            });
                        }
                    }
                }
                Err(error) => {
                    debug!(%error, "accept failed");
                    tokio::time::sleep(RETRY).await;
                }
            },
        }
    }
}

async fn connection(stream: TcpStream, bmc: Arc<Bmc>) {
    stream.set_nodelay(true).ok();
    let acceptor = TlsAcceptor::from(bmc.line.server_config());
    match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            bmc.line.count_handshake();
            http(stream, move |request| {
                service::pass(Arc::clone(&bmc), request)
            })
            .await;
        }
        Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
        Err(_) => debug!("TLS handshake too slow"),
    }
}

async fn http<F: Future<Output = Response<Body>>>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl Fn(Request<Body>) -> F,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let answered = answer(request.map(Body::new));
        async move {
            let response = answered.await;
            match response.extensions().get::<CutConnection>() {
                Some(_) => Err(Cut),
                None => Ok(response),
            }
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        debug!(%error, "connection ended");
    }
}
