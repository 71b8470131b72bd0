//! One connection to a BMC, driven by whoever waits for its answer.
//!
//! Not a pool. Between two exchanges only the byte stream is kept: the buffers for a message take
//! as much as all else that is known of a BMC. Invariant: a connection whose exchange did not end
//! cleanly is never used again.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::unconstrained;
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
}

/// A connection between two exchanges.
pub(super) struct Resting {
    stream: Box<dyn Stream>,
    /// When its last exchange ended.
    pub(super) used: Instant,
}

impl Resting {
    /// Whether the peer has kept it open and sent nothing unasked; looks without waiting.
    pub(super) fn is_alive(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        now(poll_fn(|cx| {
            Pin::new(&mut self.stream).poll_read(cx, &mut buffer)
        }))
        .is_pending()
    }

    /// For another exchange.
    pub(super) async fn wake(self) -> Result<Connection, WireError> {
        Connection::over(self.stream).await
    }
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
        Ok(Self { sender, driver })
    }

    /// After an exchange; `None` when it is not fit for another.
    pub(super) fn rest(mut self) -> Option<Resting> {
        if now(&mut self.driver).is_ready() || !self.sender.is_ready() {
            return None;
        }
        let parts = self.driver.into_parts();
        parts.read_buf.is_empty().then(|| Resting {
            stream: parts.io.into_inner(),
            used: Instant::now(),
        })
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
        Ok(Answer { head, body })
    }
}

/// Polls once, whatever of its turn the task has used up. Nobody is woken.
fn now<F: Future>(future: F) -> Poll<F::Output> {
    pin!(unconstrained(future)).poll(&mut Context::from_waker(Waker::noop()))
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    /// A connection and its peer.
    async fn pair() -> (Connection, DuplexStream) {
        let (ours, theirs) = duplex(1024);
        let connection = Connection::over(Box::new(ours)).await;
        (connection.unwrap_or_else(|e| panic!("{e}")), theirs)
    }

    /// One request, and `answer` to it.
    async fn ask(connection: &mut Connection, peer: &mut DuplexStream, answer: &str) -> Vec<u8> {
        let request = http::Request::get("/x").body(Full::default()).unwrap();
        let served = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(peer.read_u8().await.unwrap());
            }
            peer.write_all(answer.as_bytes()).await.unwrap();
        };
        let (answer, ()) = tokio::join!(connection.exchange(request, 100), served);
        let Ok(answer) = answer else {
            panic!("no answer")
        };
        answer.body
    }

    #[tokio::test]
    async fn a_rested_connection_asks_again() {
        let (mut connection, mut peer) = pair().await;
        for _ in 0..3 {
            assert_eq!(ask(&mut connection, &mut peer, WHOLE).await, b"ok");
            let mut resting = connection.rest().unwrap();
            assert!(resting.is_alive() && resting.is_alive());
            connection = resting.wake().await.unwrap_or_else(|e| panic!("{e}"));
        }
    }

    #[tokio::test]
    async fn a_peer_that_says_it_will_close_gets_no_rest() {
        let (mut connection, mut peer) = pair().await;
        let last = WHOLE.replace("OK\r\n", "OK\r\nConnection: close\r\n");
        ask(&mut connection, &mut peer, &last).await;
        assert!(connection.rest().is_none());
    }

    #[tokio::test]
    async fn bytes_that_nobody_asked_for_end_a_connection() {
        let (mut connection, mut peer) = pair().await;
        ask(&mut connection, &mut peer, &format!("{WHOLE}{WHOLE}")).await;
        assert!(connection.rest().is_none());

        let (mut connection, mut peer) = pair().await;
        ask(&mut connection, &mut peer, WHOLE).await;
        let mut resting = connection.rest().unwrap();
        peer.write_all(b"HTTP").await.unwrap();
        assert!(!resting.is_alive());
    }

    #[tokio::test]
    async fn a_peer_that_closed_is_noticed_at_rest() {
        let (mut connection, mut peer) = pair().await;
        ask(&mut connection, &mut peer, WHOLE).await;
        let mut resting = connection.rest().unwrap();
        drop(peer);
        assert!(!resting.is_alive());
    }
}
