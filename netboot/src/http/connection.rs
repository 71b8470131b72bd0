//! One TCP connection of a boot client: how it ends, and how slow it may be.
//!
//! For connections that hyper serves; `plain.rs` does the same for its own. Invariant: a connection
//! that takes less than the agreed bytes in a window while we have more for it is ended.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::serve::HttpLimits;

/// A stream that watches its client.
#[derive(Debug)]
pub(crate) struct BootConnection {
    stream: TcpStream,
    /// What was read before, to be read again.
    read_before: Vec<u8>,
    client_closed: bool,
    window: Duration,
    min_window_bytes: u64,
    /// Runs from the first time the client did not take what we had.
    stalled: Option<Pin<Box<Sleep>>>,
    taken: u64,
}

/// Unacknowledged data keeps the kernel's state of a dead client for `silence` at most, also after
/// the process has let go of it.
pub(crate) fn set_up(stream: &TcpStream, silence: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(silence))?;
    let interval = silence / 3;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(interval)
            .with_interval(interval)
            .with_retries(2),
    )
}

/// Makes the coming close send RST and forget the connection (`SO_LINGER` of zero).
pub(crate) fn forget_on_close(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(error = %error, "could not set SO_LINGER");
    }
}

impl BootConnection {
    /// Takes over a stream of which `read_before` has been read.
    pub(crate) fn new(
        stream: TcpStream,
        read_before: Vec<u8>,
        limits: &HttpLimits,
    ) -> io::Result<Self> {
        set_up(&stream, limits.silence_timeout)?;
        Ok(Self {
            stream,
            read_before,
            client_closed: false,
            window: limits.slow_window,
            min_window_bytes: limits.min_window_bytes,
            stalled: None,
            taken: 0,
        })
    }

    /// After the kernel has taken no more: is the client still fast enough?
    fn check_stall(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let window = self.window;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(window)));
        if timer.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        if self.taken < self.min_window_bytes {
            forget_on_close(&self.stream);
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client takes data too slowly",
            ));
        }
        self.taken = 0;
        let mut timer = Box::pin(sleep(window));
        // Polled so that it wakes this task; it cannot be ready yet.
        let _pending = timer.as_mut().poll(cx);
        self.stalled = Some(timer);
        Ok(())
    }
}

impl AsyncRead for BootConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.read_before.is_empty() {
            let count = this.read_before.len().min(buf.remaining());
            let rest = this.read_before.split_off(count);
            buf.put_slice(&this.read_before);
            this.read_before = rest;
            return Poll::Ready(Ok(()));
        }
        let (before, room) = (buf.filled().len(), buf.remaining() > 0);
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() > before {
                    // A new request: what the client did with the last answer no longer counts.
                    this.stalled = None;
                    this.taken = 0;
                } else if room && !this.client_closed {
                    this.client_closed = true;
                    forget_on_close(&this.stream);
                }
                Poll::Ready(Ok(()))
            }
            other @ (Poll::Ready(Err(_)) | Poll::Pending) => other,
        }
    }
}

impl AsyncWrite for BootConnection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(cx, bytes) {
            Poll::Ready(Ok(written)) => {
                this.taken += written as u64;
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => match this.check_stall(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.client_closed {
            // No FIN: the close that follows answers the client's own FIN with RST.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write_vectored(cx, bufs) {
            Poll::Ready(Ok(written)) => {
                this.taken += written as u64;
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => match this.check_stall(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
