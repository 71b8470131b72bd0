//! Accept loops: TLS for BMCs, plain for the admin plane.
//!
//! An answer that carries [`CutConnection`] is not sent; the connection is closed instead.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::debug;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Marks an answer that must not be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CutConnection;

#[derive(Debug, thiserror::Error)]
#[error("connection cut on purpose")]
struct Cut;

/// Serves until cancelled; then every connection is dropped.
pub(crate) async fn run(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    stop: CancellationToken,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, acceptor.clone(), router.clone()));
                }
                Err(error) => {
                    debug!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

async fn connection(stream: TcpStream, acceptor: Option<TlsAcceptor>, router: Router) {
    stream.set_nodelay(true).ok();
    match acceptor {
        None => http(stream, router).await,
        Some(acceptor) => match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, router).await,
            Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
            Err(_) => debug!("TLS handshake too slow"),
        },
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let router = router.clone();
        async move {
            let answered: Result<Response<Body>, Infallible> =
                router.oneshot(request.map(Body::new)).await;
            match answered {
                Ok(response) if response.extensions().get::<CutConnection>().is_some() => Err(Cut),
                Ok(response) => Ok(response),
                Err(never) => match never {},
            }
        }
    });
    let served =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        debug!(%error, "connection ended");
    }
}
