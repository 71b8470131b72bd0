//! One plain connection of a boot client, request after request.
//!
//! Our own loop and not hyper's, because files go out with `sendfile` here, an idle connection
//! owns no buffer, and an answer costs three system calls. Requests it does not understand (chunked
//! bodies, expectations) take the connection to hyper. GRUB reuses its source ports at every boot
//! and never acknowledges our FIN; a socket left in LAST-ACK then swallows the connections of the
//! next boot. So when the client has closed, we close with RST, which leaves nothing behind.
//! Invariant: every wait has a limit, and at most one head and one body are in memory.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::boot::Asked;
use super::connection::{BootConnection, forget_on_close, set_up};
use super::general;
use super::pace::Pace;
use super::record::Record;
use super::reply::{Content, Reply, plain, write_head};
use super::request::{Framing, RequestHead, may_be_complete, parse, path_of};
use super::server::Server;
use super::transfer::{send_bytes, send_with_file};
use super::waiting::Waiting;
use crate::metrics::HttpKind;

/// Room made for reading; a head of firmware has 100 to 300 bytes.
const READ_BYTES: usize = 2 << 10;
/// Largest body taken; the largest of our clients' has a few hundred kilobytes.
const BODY_BYTES: u64 = 1 << 20;
/// Largest answer of a callback.
const ANSWER_BYTES: usize = 16 << 20;
/// Content up to this size is copied behind its head and sent with one call.
const JOINED_BYTES: usize = 16 << 10;

/// A connection and what it needs.
pub(crate) struct Plain {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) server: Arc<Server>,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) stop: CancellationToken,
}

/// What comes next on a connection.
enum Next {
    /// A head, and how many bytes of the buffer it takes.
    Request(Box<RequestHead>, usize),
    Refused(StatusCode),
    /// The client has closed.
    Closed,
    /// It said nothing for too long, or we are to stop.
    Over,
}

impl Plain {
    /// Serves until either side has had enough. What only a request needs is boxed: a connection
    /// that waits is small.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        set_up(&self.stream, self.server.limits.silence_timeout)?;
        let mut buffer = Vec::new();
        let stop = self.stop.clone();
        let stopped = stop.cancelled();
        tokio::pin!(stopped);
        loop {
            let next = tokio::select! {
                biased;
                next = self.next(&mut buffer) => next?,
                () = stopped.as_mut() => Next::Over,
            };
            let (head, taken) = match next {
                Next::Request(head, taken) => (head, taken),
                Next::Refused(status) => {
                    let record = Record::new(&self.server.boot, HttpKind::Other);
                    let text = "this is not a request";
                    let reply = plain(status, text, record);
                    return Box::pin(self.send(reply, false, true)).await;
                }
                Next::Closed => {
                    forget_on_close(&self.stream);
                    return Ok(());
                }
                Next::Over => return Ok(()),
            };
            let keep_alive = head.keep_alive && !self.stop.is_cancelled();
            let length = match head.framing {
                Framing::Length(length) => length,
                // With what was read of it, until its end.
                Framing::Elsewhere => return Box::pin(self.hand_over(buffer)).await,
            };
            buffer.drain(..taken);
            let is_read = head.method == Method::GET || head.method == Method::HEAD;
            let (reply, keep_alive) = if length > BODY_BYTES {
                let record = Record::new(&self.server.boot, HttpKind::Other);
                let text = "the body is too large";
                (plain(StatusCode::PAYLOAD_TOO_LARGE, text, record), false)
            } else if is_read && length == 0 {
                (Box::pin(self.answer(&head)).await, keep_alive)
            } else {
                let Some(body) = self.body(&mut buffer, length).await? else {
                    return Ok(());
                };
                (Box::pin(self.call(&head, body)).await, keep_alive)
            };
            Box::pin(self.send(reply, keep_alive, head.is_11)).await?;
            if !keep_alive {
                return Ok(());
            }
            if buffer.is_empty() {
                buffer = Vec::new();
            }
        }
    }

    /// Waits for the next head. Until it is complete, the place may be given to somebody else.
    async fn next(&mut self, buffer: &mut Vec<u8>) -> io::Result<Next> {
        self.waiting.begin();
        let next = self.head(buffer).await;
        self.waiting.end();
        next
    }

    /// Reads the next head; there is no buffer before its first byte.
    async fn head(&mut self, buffer: &mut Vec<u8>) -> io::Result<Next> {
        let ends = Instant::now() + self.server.limits.header_read_timeout;
        if buffer.is_empty() {
            match timeout_at(ends, self.stream.readable()).await {
                Ok(ready) => ready?,
                Err(_late) => return Ok(Next::Over),
            }
        }
        let mut seen = 0;
        loop {
            if may_be_complete(buffer, seen) || buffer.len() >= super::request::HEAD_BYTES {
                match parse(buffer) {
                    Ok(Some((head, taken))) => return Ok(Next::Request(Box::new(head), taken)),
                    Ok(None) => {}
                    Err(problem) => return Ok(Next::Refused(problem.status())),
                }
            }
            seen = buffer.len();
            buffer.reserve(READ_BYTES);
            match timeout_at(ends, self.stream.read_buf(buffer)).await {
                Ok(Ok(0)) => return Ok(Next::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_late) => return Ok(Next::Over),
            }
        }
    }

    /// Reads a body of known length; none when the client did not send it in time.
    async fn body(&mut self, buffer: &mut Vec<u8>, length: u64) -> io::Result<Option<Bytes>> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let ends = Instant::now() + self.server.limits.header_read_timeout;
        while buffer.len() < length {
            buffer.reserve((length - buffer.len()).min(64 << 10));
            match timeout_at(ends, self.stream.read_buf(buffer)).await {
                Ok(Ok(0)) | Err(_) => return Ok(None),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
        let rest = buffer.split_off(length);
        Ok(Some(Bytes::from(std::mem::replace(buffer, rest))))
    }

    async fn answer(&self, head: &RequestHead) -> Reply {
        let boot = &self.server.boot;
        let Some(path) = path_of(&head.target) else {
            let record = Record::new(boot, HttpKind::Other);
            return plain(StatusCode::BAD_REQUEST, "the target is not a path", record);
        };
        let asked = Asked {
            peer: self.peer,
            method: &head.method,
            headers: &head.headers,
        };
        boot.answer(asked, path).await
    }

    /// Lets the routes of our owner answer.
    async fn call(&self, head: &RequestHead, body: Bytes) -> Reply {
        let mut record = Record::new(&self.server.boot, HttpKind::Callback);
        let Ok(uri) = http::Uri::try_from(head.target.as_str()) else {
            return plain(StatusCode::BAD_REQUEST, "the target is not a path", record);
        };
        let mut request = http::Request::new(Body::from(body));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = uri;
        request.headers_mut().clone_from(&head.headers);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let Ok(response) = self.server.router.clone().oneshot(request).await;
        let (parts, body) = response.into_parts();
        let Ok(content) = axum::body::to_bytes(body, ANSWER_BYTES).await else {
            return plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the answer broke off",
                record,
            );
        };
        let mut headers = parts.headers;
        headers.remove(CONNECTION);
        headers.remove(TRANSFER_ENCODING);
        let has_content =
            parts.status != StatusCode::NO_CONTENT && !parts.status.is_informational();
        if has_content && parts.status != StatusCode::NOT_MODIFIED {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(content.len()));
        }
        record.status = parts.status;
        record.expected = content.len() as u64;
        Reply {
            status: parts.status,
            headers,
            content: Content::Memory(content),
            record,
        }
    }

    async fn send(&mut self, reply: Reply, keep_alive: bool, is_11: bool) -> io::Result<()> {
        let limits = &self.server.limits;
        let mut pace = Pace::new(limits.slow_window, limits.min_window_bytes);
        let connection = match (keep_alive, is_11) {
            (true, true) => None,
            (true, false) => Some("keep-alive"),
            (false, _) => Some("close"),
        };
        let mut record = reply.record;
        record.status = reply.status;
        let date = self.server.date();
        let mut head = Vec::with_capacity(512);
        write_head(&mut head, reply.status, &reply.headers, &date.1, connection);
        let outcome = match reply.content {
            Content::Memory(content) if content.len() <= JOINED_BYTES => {
                let content_at = head.len() as u64;
                head.extend_from_slice(&content);
                let mut sent = 0;
                let outcome = send_bytes(&self.stream, &head, false, &mut pace, &mut sent).await;
                record.sent = sent.saturating_sub(content_at);
                outcome
            }
            Content::File(part) => {
                let sent = &mut record.sent;
                send_with_file(&self.stream, &head, part, &mut pace, sent).await
            }
            content @ (Content::Empty | Content::Memory(_)) => {
                let more = matches!(content, Content::Memory(_));
                let head = send_bytes(&self.stream, &head, more, &mut pace, &mut 0).await;
                match (head, content) {
                    (Ok(()), Content::Memory(content)) => {
                        let sent = &mut record.sent;
                        send_bytes(&self.stream, &content, false, &mut pace, sent).await
                    }
                    (outcome, _) => outcome,
                }
            }
        };
        drop(record);
        if let Err(error) = outcome {
            forget_on_close(&self.stream);
            return Err(error);
        }
        Ok(())
    }

    /// Gives the connection to the general server, with what was read of it.
    async fn hand_over(self, read: Vec<u8>) -> io::Result<()> {
        let stream = BootConnection::new(self.stream, read, &self.server.limits)?;
        let routes = self.server.routes();
        let limits = self.server.limits.clone();
        general::serve(stream, self.peer, routes, limits, self.stop).await
    }
}
