//! The boot HTTP server: plain, and with TLS for firmware that can.
//!
//! Both ports answer alike. GET and HEAD are boot files, disks and `/healthz`; everything else goes
//! to the routes of our owner. Invariant: what a request may see does not depend on the port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::header::{ALLOW, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::boot::{Asked, Boot};
use super::connection::BootConnection;
use super::date::DateLine;
use super::files::BootFiles;
use super::general;
use super::plain::Plain;
use super::record::Record;
use super::serve::{Door, HttpLimits, accept};
use crate::directory::BootDirectory;
use crate::metrics::{HttpKind, HttpMetrics};

/// From the first byte of a TLS handshake to its last.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The server for firmware, boot loaders, installers and hosts.
#[derive(Clone)]
pub struct BootServer(Arc<Server>);

impl std::fmt::Debug for BootServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BootServer")
            .field("limits", &self.0.limits)
            .finish_non_exhaustive()
    }
}

pub(crate) struct Server {
    pub(crate) boot: Arc<Boot>,
    pub(crate) router: Router,
    pub(crate) limits: HttpLimits,
    date: DateLine,
}

impl BootServer {
    /// A server of `files` for the machines of `directory`; `callbacks` gets every request that is
    /// neither GET nor HEAD, with the peer's address as `ConnectInfo<SocketAddr>`.
    pub fn new(
        directory: Arc<dyn BootDirectory>,
        files: Arc<BootFiles>,
        callbacks: Router,
        limits: HttpLimits,
        metrics: HttpMetrics,
    ) -> Self {
        Self(Arc::new(Server {
            boot: Arc::new(Boot {
                directory,
                files,
                metrics,
            }),
            router: callbacks.fallback(method_not_allowed),
            limits,
            date: DateLine::default(),
        }))
    }

    /// Serves plain HTTP until `stop`, then lets running answers finish within the drain time.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let server = self.0;
        let door = Door::new(&server.limits, Some(server.boot.metrics.clone()));
        let (inner, within) = (Arc::clone(&server), stop.clone());
        accept(listener, door, stop, move |stream, peer, waiting| {
            let plain = Plain {
                stream,
                peer,
                server: Arc::clone(&inner),
                waiting,
                stop: within.clone(),
            };
            async move {
                if let Err(error) = plain.run().await {
                    tracing::debug!(%peer, error = %error, "connection ended early");
                }
            }
        })
        .await;
    }

    /// The same with TLS 1.2 and 1.3, until `stop`. Each connection uses the newest of `tls`.
    pub async fn run_tls(
        self,
        listener: TcpListener,
        tls: Arc<ArcSwap<ServerConfig>>,
        stop: CancellationToken,
    ) {
        let server = self.0;
        let door = Door::new(&server.limits, Some(server.boot.metrics.clone()));
        let routes = server.routes();
        let within = stop.clone();
        accept(listener, door, stop, move |stream, peer, _waiting| {
            let (server, routes) = (Arc::clone(&server), routes.clone());
            let (tls, stop) = (http1_only(&tls), within.clone());
            async move {
                let limits = server.limits.clone();
                let stream = match BootConnection::new(stream, Vec::new(), &limits) {
                    Ok(stream) => stream,
                    Err(error) => {
                        tracing::debug!(%peer, error = %error, "connection was gone before it began");
                        return;
                    }
                };
                let accepted = TlsAcceptor::from(tls).accept(stream);
                let outcome = match timeout(HANDSHAKE_TIMEOUT, accepted).await {
                    Ok(Ok(stream)) => general::serve(stream, peer, routes, limits, stop).await,
                    Ok(Err(error)) => {
                        server.boot.metrics.refused("handshake");
                        tracing::info!(%peer, error = %error, "TLS handshake failed");
                        return;
                    }
                    Err(late) => {
                        server.boot.metrics.refused("handshake");
                        Err(late.into())
                    }
                };
                if let Err(error) = outcome {
                    tracing::debug!(%peer, error = %error, "connection ended early");
                }
            }
        })
        .await;
    }
}

/// The same identity without HTTP/2, which firmware does not speak.
fn http1_only(tls: &ArcSwap<ServerConfig>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::clone(&tls.load());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

impl Server {
    /// Everything, for the general server.
    pub(crate) fn routes(self: &Arc<Self>) -> Router {
        let counted = middleware::from_fn_with_state(Arc::clone(&self.boot), count);
        let callbacks = self.router.clone().layer(counted);
        let answers = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&self.boot));
        // GET and HEAD never reach the callbacks, as on the plain port.
        let both = (answers, callbacks);
        Router::new().fallback(choose).with_state(both)
    }

    /// Now, as a `Date` header.
    pub(crate) fn date(&self) -> Arc<(i64, String)> {
        self.date.at((self.boot.files.clock())())
    }
}

async fn choose(
    State((answers, callbacks)): State<(Router, Router)>,
    request: Request,
) -> Response {
    use tower::ServiceExt as _;
    let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
    let Ok(response) = if is_read {
        answers.oneshot(request).await
    } else {
        callbacks.oneshot(request).await
    };
    response
}

async fn answer(
    State(boot): State<Arc<Boot>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let asked = Asked {
        peer,
        method: &method,
        headers: &headers,
    };
    let reply = boot.answer(asked, uri.path()).await;
    general::response(reply).await
}

async fn method_not_allowed() -> (StatusCode, [(HeaderName, &'static str); 1], &'static str) {
    let allowed = [(ALLOW, "GET, HEAD")];
    (
        StatusCode::METHOD_NOT_ALLOWED,
        allowed,
        "only GET and HEAD\n",
    )
}

async fn count(State(boot): State<Arc<Boot>>, request: Request, next: Next) -> Response {
    let mut record = Record::new(&boot, HttpKind::Callback);
    let response = next.run(request).await;
    record.status = response.status();
    let length = response.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    record.expected = length.unwrap_or(0);
    record.sent = record.expected;
    response
}

#[cfg(test)]
mod tests;
