//! Turns a found file, or the lack of one, into an HTTP answer.
//!
//! Knows RFC 9110, not machines. Invariant: every answer has a length, and every answer to a GET of
//! a machine leaves one event.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, LAST_MODIFIED, RETRY_AFTER,
};
use http::{Method, StatusCode};

use super::body::{Chunks, Record, body, open_part};
use super::conditional::{Validators, Verdict, evaluate, http_date};
use super::files::BootFile;
use super::range::RangeRequest;
use super::router::Boot;
use crate::directory::BootMachine;
use crate::source::{FileContent, SourceError};

/// Seconds after which a client should ask again for an image that is being fetched.
const RETRY_SECONDS: &str = "5";

/// What matters of a request besides its path.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
}

/// One answer to a known machine.
pub(crate) struct Answer<'a> {
    pub(crate) boot: &'a Boot,
    pub(crate) started: Instant,
    pub(crate) machine: Arc<BootMachine>,
    pub(crate) peer: Ipv4Addr,
    pub(crate) file: String,
}

impl Answer<'_> {
    pub(crate) async fn send(self, request: &Asked, found: BootFile) -> Response {
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

    pub(crate) fn refuse(self, request: &Asked, error: &SourceError) -> Response {
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

pub(crate) fn plain(status: StatusCode, text: &str) -> Response {
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
