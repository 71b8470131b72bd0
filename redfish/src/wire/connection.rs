//! One connection to a BMC, driven by whoever waits for its answer.
//!
//! Not a pool. Invariant: a connection whose exchange did not end cleanly is never used again.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::failure::WireError;

/// Longest head of an answer.
const HEAD_LIMIT_BYTES: usize = 64 * 1024;

/// A byte stream to a BMC: TLS, or TCP in plaintext.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

type Driver = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// An answer with its whole body.
pub(super) struct Answer {
    pub(super) head: http::response::Parts,
    pub(super) body: Vec<u8>,
}

/// Why an exchange failed, and what that says about the request.
pub(super) enum Broken {
    /// Nothing of it was written; it may go out on another connection.
    Unsent(Box<http::Request<Full<Bytes>>>),
    /// It went out, and the connection broke before any answer.
    Unanswered(WireError),
    /// The answer broke in the middle.
    Cut(WireError),
    /// The answer is longer than allowed.
    TooLong,
}

/// An open connection.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    pub(super) used: Instant,
}

impl Connection {
    pub(super) async fn over(stream: Box<dyn Stream>) -> Result<Self, WireError> {
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(HEAD_LIMIT_BYTES)
            .allow_spaces_after_header_name_in_responses(true)
            .ignore_invalid_headers_in_responses(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(WireError::Http)?;
        Ok(Self {
            sender,
            driver,
            used: Instant::now(),
        })
    }

    /// Whether the peer has kept it open; looks at the socket without waiting.
    pub(super) async fn is_alive(&mut self) -> bool {
        let ended = poll_fn(|cx| Poll::Ready(Pin::new(&mut self.driver).poll(cx).is_ready())).await;
        !ended && !self.sender.is_closed()
    }

    /// Sends a request and reads the answer to its end.
    pub(super) async fn exchange(
        &mut self,
        request: http::Request<Full<Bytes>>,
        body_limit: usize,
    ) -> Result<Answer, Broken> {
        let (sender, driver) = (&mut self.sender, &mut self.driver);
        let Some(ready) = driven(driver, sender.ready()).await else {
            return Err(Broken::Unsent(Box::new(request)));
        };
        if ready.is_err() {
            return Err(Broken::Unsent(Box::new(request)));
        }
        let sent = driven(driver, sender.try_send_request(request)).await;
        let response = match sent {
            Some(Ok(response)) => response,
            Some(Err(mut failed)) => {
                return Err(match failed.take_message() {
                    Some(request) => Broken::Unsent(Box::new(request)),
                    None => Broken::Unanswered(WireError::Http(failed.into_error())),
                });
            }
            None => return Err(Broken::Unanswered(WireError::Closed)),
        };
        let (head, body) = response.into_parts();
        let body = read_body(driver, body, body_limit).await?;
        self.used = Instant::now();
        Ok(Answer { head, body })
    }
}

async fn read_body(
    driver: &mut Driver,
    mut body: Incoming,
    limit: usize,
) -> Result<Vec<u8>, Broken> {
    let mut bytes = Vec::new();
    loop {
        let frame = match driven(driver, body.frame()).await {
            Some(Some(frame)) => frame.map_err(|error| Broken::Cut(WireError::Http(error)))?,
            Some(None) => return Ok(bytes),
            None => return Err(Broken::Cut(WireError::Closed)),
        };
        if let Some(data) = frame.data_ref() {
            if bytes.len().saturating_add(data.len()) > limit {
                return Err(Broken::TooLong);
            }
            bytes.extend_from_slice(data);
        }
    }
}

/// Waits for `wanted` while moving the connection. `None`: the connection ended without it.
async fn driven<F: Future>(driver: &mut Driver, wanted: F) -> Option<F::Output> {
    let mut wanted = pin!(wanted);
    poll_fn(|cx: &mut Context<'_>| {
        if let Poll::Ready(output) = wanted.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if Pin::new(&mut *driver).poll(cx).is_ready() {
            // What the end of the connection left behind for the caller.
            return match wanted.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending => Poll::Ready(None),
            };
        }
        wanted.as_mut().poll(cx).map(Some)
    })
    .await
}
