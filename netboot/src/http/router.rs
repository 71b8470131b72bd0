//! Routes for boot firmware and installers.
//!
//! Thin: identity, look-up, answer. A peer is known by the address its packets come from and by
//! nothing it says. Invariant: no header chooses a machine, and every answer has a length.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::response::Response;
use axum::routing::{any, get};
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderValue, LAST_MODIFIED, RETRY_AFTER,
};
use http::{Method, StatusCode, Uri};

use super::body::{Chunks, Record, body, open_part};
use super::conditional::{Validators, Verdict, evaluate, http_date};
use super::files::{BootFile, BootFiles};
use super::path::percent_decode;
use super::range::RangeRequest;
use crate::directory::{BootDirectory, BootMachine, BootProtocol};
use crate::source::{FileContent, SourceError};

/// shim, when it came by HTTP, gives up if its revocation files answer 404.
const EMPTY_REVOCATIONS: &[u8] = b"no revocations here\n";
/// Seconds after which a client should ask again for an image that is being fetched.
const RETRY_SECONDS: &str = "5";

#[derive(Clone)]
struct Boot {
    directory: Arc<dyn BootDirectory>,
    files: Arc<BootFiles>,
}

/// `GET|HEAD /healthz`, `/install/{token}/disk` and every boot file. Needs the peer's address as
/// `ConnectInfo<SocketAddr>`, which [`super::serve`] provides. Has the fallback route.
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
        BootProtocol::Http => name.starts_with("revocations") && name.ends_with(".efi"),
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

/// What matters of a request besides its path.
struct Asked {
    method: Method,
    headers: HeaderMap,
}

/// One answer to a known machine.
struct Answer<'a> {
    boot: &'a Boot,
    started: Instant,
    machine: Arc<BootMachine>,
    peer: Ipv4Addr,
    file: String,
}

impl Answer<'_> {
    async fn send(self, request: &Asked, found: BootFile) -> Response {
        let validators = Validators {
            etag: found.etag,
            modified: found.modified,
        };
        let length = found.content.length();
        let content_type = content_type(&self.file, &found.content);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        insert(&mut headers, ETAG, &validators.etag);
        if let Some(modified) = validators.modified {
            insert(&mut headers, LAST_MODIFIED, &http_date(modified));
        }
        let (status, first, count) = match evaluate(&request.headers, &validators, length) {
            Verdict::NotModified => return self.finish(request, StatusCode::NOT_MODIFIED, headers),
            Verdict::Send(RangeRequest::Unsatisfiable) => {
                insert(&mut headers, CONTENT_RANGE, &format!("bytes */{length}"));
                insert(&mut headers, CONTENT_LENGTH, "0");
                return self.finish(request, StatusCode::RANGE_NOT_SATISFIABLE, headers);
            }
            Verdict::Send(RangeRequest::Whole) => (StatusCode::OK, 0, length),
            Verdict::Send(RangeRequest::Part { first, last }) => {
                insert(
                    &mut headers,
                    CONTENT_RANGE,
                    &format!("bytes {first}-{last}/{length}"),
                );
                (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
            }
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        insert(&mut headers, CONTENT_LENGTH, &count.to_string());
        if request.method == Method::HEAD || count == 0 {
            return self.finish(request, status, headers);
        }
        match chunks(found.content, first, count).await {
            Ok(chunks) => {
                let record = self.record(status);
                respond(status, headers, body(chunks, Some(record)))
            }
            Err(error) => {
                tracing::error!(file = %self.file, error = %error, "file of an image cannot be read");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read")
            }
        }
    }

    fn refuse(self, request: &Asked, error: &SourceError) -> Response {
        let status = match error {
            SourceError::UnknownPeer { .. }
            | SourceError::NotFound { .. }
            | SourceError::Refused { .. } => StatusCode::NOT_FOUND,
            SourceError::NotReady { .. } => StatusCode::SERVICE_UNAVAILABLE,
            SourceError::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut response = plain(status, &error.to_string());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
        }
        if request.method != Method::HEAD {
            drop(self.record(status));
        }
        response
    }

    /// An answer without content; HEAD is no event of a boot.
    fn finish(self, request: &Asked, status: StatusCode, headers: HeaderMap) -> Response {
        if request.method != Method::HEAD {
            drop(self.record(status));
        }
        respond(status, headers, Body::empty())
    }

    fn record(self, status: StatusCode) -> Record {
        Record {
            directory: Arc::clone(&self.boot.directory),
            clock: self.boot.files.clock(),
            started: self.started,
            machine: self.machine,
            peer: self.peer,
            file: self.file,
            status: status.as_u16(),
            sent: 0,
        }
    }
}

async fn chunks(content: FileContent, first: u64, count: u64) -> std::io::Result<Chunks> {
    match content {
        FileContent::File { path, .. } => open_part(&path, first, count).await,
        FileContent::Bytes(bytes) => {
            let range = usize::try_from(first)
                .ok()
                .zip(usize::try_from(first + count).ok());
            let part = range.filter(|(_, end)| *end <= bytes.len());
            Ok(Chunks::Memory(
                part.map(|(start, end)| bytes.slice(start..end)),
            ))
        }
    }
}

fn content_type(name: &str, content: &FileContent) -> &'static str {
    match content {
        FileContent::Bytes(_) => "text/plain; charset=utf-8",
        FileContent::File { .. } if name.to_ascii_lowercase().ends_with(".efi") => {
            "application/efi"
        }
        FileContent::File { .. } => "application/octet-stream",
    }
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

fn plain(status: StatusCode, text: &str) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    respond(status, headers, Body::from(format!("{text}\n")))
}

fn respond(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn insert(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    // All values are digits, dates and hexadecimal; one that does not fit is left out.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The peer's IPv4 address, also when the socket is IPv6.
fn ipv4(peer: SocketAddr) -> Option<Ipv4Addr> {
    match peer.ip().to_canonical() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
