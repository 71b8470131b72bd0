//! A connection served by hyper: TLS, and plain ones that ask for more than files.
//!
//! HTTP/1.1 only. Invariant: header names are in title case here too, and the head of a request
//! has its limits in time and size.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use bytes::Bytes;
use futures::Stream;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, AsyncWrite, Take};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::record::Record;
use super::reply::{Content, Reply};
use super::request::{HEAD_BYTES, MAX_HEADERS};
use super::serve::HttpLimits;

/// Bytes read from disk at once.
const BLOCK_BYTES: usize = 256 << 10;

/// Serves one connection until its end, or until the running answer ends after `stop`.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: SocketAddr,
    routes: Router,
    limits: HttpLimits,
    stop: CancellationToken,
) -> io::Result<()> {
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        routes.clone().oneshot(request.map(Body::new))
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_header_size(HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        // GRUB 2.06 knows `Content-Length` in no other spelling.
        .title_case_headers(true)
        .keep_alive(true);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    outcome.map_err(io::Error::other)
}

/// An answer as hyper takes it.
pub(crate) async fn response(reply: Reply) -> Response {
    let record = reply.record;
    let chunks = match reply.content {
        Content::Empty => Chunks::Memory(None),
        Content::Memory(bytes) => Chunks::Memory(Some(bytes)),
        Content::File(part) => {
            let mut file = File::from_std(part.file);
            if let Err(error) = file.seek(io::SeekFrom::Start(part.first)).await {
                tracing::error!(error = %error, "file of an image cannot be read");
                let mut response = Response::new(Body::empty());
                *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                return response;
            }
            let part = file.take(part.count);
            Chunks::File(ReaderStream::with_capacity(part, BLOCK_BYTES))
        }
    };
    let body = match chunks {
        Chunks::Memory(None) => Body::empty(),
        chunks @ (Chunks::Memory(Some(_)) | Chunks::File(_)) => {
            Body::from_stream(Recorded { chunks, record })
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}

/// Where a body's bytes come from.
enum Chunks {
    Memory(Option<Bytes>),
    File(ReaderStream<Take<File>>),
}

/// Chunks with their record, which is dropped with the body.
struct Recorded {
    chunks: Chunks,
    record: Record,
}

impl Stream for Recorded {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = match &mut this.chunks {
            Chunks::Memory(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Chunks::File(stream) => Pin::new(stream).poll_next(cx),
        };
        if let Poll::Ready(Some(Ok(bytes))) = &next {
            this.record.sent += bytes.len() as u64;
        }
        next
    }
}
