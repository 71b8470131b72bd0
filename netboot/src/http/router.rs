//! Routes for boot firmware and installers.
//!
//! Thin: identity, look-up, answer. A peer is known by the address its packets come from and by
//! nothing it says. Invariant: no header chooses a machine, and every answer has a length.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{ConnectInfo, Path, State};
use axum::response::Response;
use axum::routing::{any, get};
use bytes::Bytes;
use http::header::{ALLOW, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Uri};

use super::answer::{Answer, Asked, plain};
use super::files::{BootFile, BootFiles};
use super::path::percent_decode;
use crate::directory::{BootDirectory, BootMachine, BootProtocol};
use crate::source::{FileContent, SourceError};

/// shim, when it came by HTTP, gives up if its revocation files answer 404.
const EMPTY_REVOCATIONS: &[u8] = b"no revocations here\n";
#[derive(Clone)]
pub(crate) struct Boot {
    pub(crate) directory: Arc<dyn BootDirectory>,
    pub(crate) files: Arc<BootFiles>,
}

/// `GET|HEAD /healthz`, `/install/{token}/disk` and every boot file. Needs the peer's address as
/// `ConnectInfo<SocketAddr>`, which [`super::serve()`] provides. Has the fallback route.
pub fn router(directory: Arc<dyn BootDirectory>, files: Arc<BootFiles>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/install/{token}/disk", any(disk))
        .fallback(boot_file)
        .with_state(Boot { directory, files })
}

async fn boot_file(
    State(boot): State<Boot>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let started = Instant::now();
    let request = Asked { method, headers };
    let Some(peer) = ipv4(peer) else {
        return plain(StatusCode::NOT_FOUND, "unknown client");
    };
    let Some(machine) = boot.directory.by_ip(peer) else {
        return plain(StatusCode::NOT_FOUND, "unknown client");
    };
    if !is_read(&request.method) {
        return method_not_allowed();
    }
    let Some(path) = percent_decode(uri.path()) else {
        return plain(StatusCode::BAD_REQUEST, "the path is not UTF-8");
    };
    let file = path.trim_start_matches('/').chars().take(200).collect();
    let answer = Answer {
        boot: &boot,
        started,
        machine: Arc::clone(&machine),
        peer,
        file,
    };
    match boot.files.find(&machine, peer, &path).await {
        Ok(found) => answer.send(&request, found).await,
        Err(SourceError::NotFound { path }) if wants_dummy(&machine, &path) => {
            let found = BootFile {
                content: FileContent::Bytes(Bytes::from_static(EMPTY_REVOCATIONS)),
                etag: "\"none\"".to_owned(),
                modified: None,
            };
            answer.send(&request, found).await
        }
        Err(error) => answer.refuse(&request, &error),
    }
}

/// Machines that boot by HTTP get something for revocation files that the image lacks.
fn wants_dummy(machine: &BootMachine, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    match machine.protocol {
        BootProtocol::Http => {
            let stem = name.strip_suffix(".efi");
            stem.is_some_and(|stem| stem.starts_with("revocations"))
        }
        BootProtocol::Pxe => false,
    }
}

/// The compressed disk of the machine image, for whoever holds the token and has the address.
async fn disk(
    State(boot): State<Boot>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(token): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let started = Instant::now();
    let request = Asked { method, headers };
    if !is_read(&request.method) {
        return method_not_allowed();
    }
    let found = ipv4(peer).and_then(|peer| {
        let machine = boot.directory.by_install_token(&token)?;
        let grant = machine
            .install
            .as_ref()
            .filter(|grant| grant.token == token)?;
        let image = Arc::clone(&grant.image);
        machine
            .leases
            .iter()
            .any(|lease| lease.ipv4 == peer)
            .then_some((peer, machine, image))
    });
    let Some((peer, machine, image)) = found else {
        return plain(StatusCode::NOT_FOUND, "no such installation");
    };
    let Some(artifact) = &image.disk else {
        return plain(StatusCode::NOT_FOUND, "the image has no disk");
    };
    let name = artifact
        .path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("disk");
    let modified = match tokio::fs::metadata(&artifact.path).await {
        Ok(found) => super::files::modified(&found),
        Err(error) => {
            tracing::error!(image.digest = %image.digest, error = %error, "machine image is gone from the cache");
            return plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the image cannot be read",
            );
        }
    };
    let file = BootFile {
        content: FileContent::File {
            path: artifact.path.clone(),
            length: artifact.compressed_size,
        },
        etag: format!("\"{}\"", image.digest),
        modified,
    };
    let answer = Answer {
        boot: &boot,
        started,
        machine,
        peer,
        file: format!("install/{name}"),
    };
    answer.send(&request, file).await
}

fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

fn method_not_allowed() -> Response {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// The peer's IPv4 address, also when the socket is IPv6.
fn ipv4(peer: SocketAddr) -> Option<Ipv4Addr> {
    match peer.ip().to_canonical() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
