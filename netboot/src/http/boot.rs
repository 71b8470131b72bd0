//! Who asks for what, and what they get: the boot files, the disk of an installation, a sign of life.
//!
//! Knows machines, not sockets. A peer is known by the address its packets come from and by nothing
//! it says. Invariant: no header chooses a machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::header::{ALLOW, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};

use super::answer::send;
use super::files::{BootFile, BootFiles, Modified};
use super::path::percent_decode;
use super::record::{Asker, Record};
use super::reply::{Content, Reply, plain};
use crate::directory::{BootDirectory, BootMachine, BootProtocol};
use crate::metrics::{HttpKind, HttpMetrics};
use crate::source::{FileContent, SourceError};

/// Seconds after which a client should ask again for an image that is being fetched.
const RETRY_SECONDS: &str = "5";
/// shim, when it came by HTTP, gives up if its revocation files answer 404.
const EMPTY_REVOCATIONS: &[u8] = b"no revocations here\n";

/// What answers need.
pub(crate) struct Boot {
    pub(crate) directory: Arc<dyn BootDirectory>,
    pub(crate) files: Arc<BootFiles>,
    pub(crate) metrics: HttpMetrics,
}

/// What matters of a GET or HEAD besides its path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) peer: SocketAddr,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
}

impl Asked<'_> {
    fn is_read(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }
}

impl Boot {
    /// Answers any request to `path`, which is still percent-encoded.
    pub(crate) async fn answer(self: &Arc<Self>, asked: Asked<'_>, path: &str) -> Reply {
        let mut reply = if path == "/healthz" {
            plain(StatusCode::OK, "ok", Record::new(self, HttpKind::Other))
        } else if let Some(token) = install_token(path) {
            self.disk(asked, token).await
        } else {
            self.boot_file(asked, path).await
        };
        reply.record.status = reply.status;
        if asked.method == Method::HEAD {
            // HEAD is no event of a boot.
            reply.content = Content::Empty;
            reply.record.keep_quiet();
        }
        reply.record.expected = match &reply.content {
            Content::Empty => 0,
            Content::Memory(bytes) => bytes.len() as u64,
            Content::File(part) => part.count,
        };
        reply
    }

    async fn boot_file(self: &Arc<Self>, asked: Asked<'_>, path: &str) -> Reply {
        let mut record = Record::new(self, HttpKind::BootFile);
        let known = ipv4(asked.peer)
            .and_then(|peer| self.directory.by_ip(peer).map(|machine| (peer, machine)));
        let Some((peer, machine)) = known else {
            record.kind = HttpKind::Other;
            return plain(StatusCode::NOT_FOUND, "unknown client", record);
        };
        if !asked.is_read() {
            return method_not_allowed(record);
        }
        let Some(path) = percent_decode(path) else {
            return plain(StatusCode::BAD_REQUEST, "the path is not UTF-8", record);
        };
        record.tell(Asker {
            machine: Arc::clone(&machine),
            peer,
            file: path.trim_start_matches('/').chars().take(200).collect(),
        });
        match self.files.find(&machine, peer, &path).await {
            Ok(found) => send(asked, &found, record).await,
            Err(SourceError::NotFound { path }) if wants_dummy(&machine, &path) => {
                send(asked, &empty_revocations(), record).await
            }
            Err(error) => refuse(&error, record),
        }
    }

    /// The compressed disk of the machine image, for whoever holds the token and has the address.
    async fn disk(self: &Arc<Self>, asked: Asked<'_>, token: &str) -> Reply {
        let mut record = Record::new(self, HttpKind::Image);
        if !asked.is_read() {
            return method_not_allowed(record);
        }
        let found = ipv4(asked.peer).and_then(|peer| {
            let machine = self.directory.by_install_token(token)?;
            let grant = machine
                .install
                .as_ref()
                .filter(|grant| grant.token == token)?;
            let image = Arc::clone(&grant.image);
            let is_its = machine.leases.iter().any(|lease| lease.ipv4 == peer);
            is_its.then_some((peer, machine, image))
        });
        let Some((peer, machine, image)) = found else {
            return plain(StatusCode::NOT_FOUND, "no such installation", record);
        };
        let Some(artifact) = &image.disk else {
            return plain(StatusCode::NOT_FOUND, "the image has no disk", record);
        };
        let name = artifact.path.file_name().and_then(|name| name.to_str());
        record.tell(Asker {
            machine,
            peer,
            file: format!("install/{}", name.unwrap_or("disk")),
        });
        let modified = match tokio::fs::metadata(&artifact.path).await {
            Ok(found) => Modified::of(&found),
            Err(error) => {
                tracing::error!(image.digest = %image.digest, error = %error, "machine image is gone from the cache");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                return plain(status, "the image cannot be read", record);
            }
        };
        let file = BootFile::new(
            FileContent::File {
                path: artifact.path.clone(),
                length: artifact.compressed_size,
            },
            &image.digest,
            modified,
            "application/octet-stream",
        );
        send(asked, &file, record).await
    }
}

/// The token in `/install/{token}/disk`.
fn install_token(path: &str) -> Option<&str> {
    let token = path.strip_prefix("/install/")?.strip_suffix("/disk")?;
    (!token.is_empty() && !token.contains('/')).then_some(token)
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

fn empty_revocations() -> BootFile {
    BootFile::new(
        FileContent::Bytes(EMPTY_REVOCATIONS.into()),
        "none",
        None,
        "application/efi",
    )
}

fn refuse(error: &SourceError, record: Record) -> Reply {
    let status = match error {
        SourceError::UnknownPeer { .. }
        | SourceError::NotFound { .. }
        | SourceError::Refused { .. } => StatusCode::NOT_FOUND,
        SourceError::NotReady { .. } => StatusCode::SERVICE_UNAVAILABLE,
        SourceError::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut reply = plain(status, &error.to_string(), record);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let again = HeaderValue::from_static(RETRY_SECONDS);
        reply.headers.insert(RETRY_AFTER, again);
    }
    reply
}

fn method_not_allowed(record: Record) -> Reply {
    let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD", record);
    let allowed = HeaderValue::from_static("GET, HEAD");
    reply.headers.insert(ALLOW, allowed);
    reply
}

/// The peer's IPv4 address, also when the socket is IPv6.
fn ipv4(peer: SocketAddr) -> Option<Ipv4Addr> {
    match peer.ip().to_canonical() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
