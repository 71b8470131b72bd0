//! Readers that count, hash and limit while bytes pass through them.
//!
//! They decide nothing about content. Invariant: no reader here hands out a byte beyond its limit.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, BufReader, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::digest::hex;
use super::manifest::LayerCompression;
use super::progress::Progress;

/// Bytes taken from a blob at once.
const BLOCK_BYTES: usize = 128 << 10;
/// Largest zstd window of a layer, as a power of two: 32 MiB, which the usual levels stay far below.
const WINDOW_LOG: u32 = 25;

/// Hashes everything read from a blob and stops when it is longer than announced.
pub(crate) struct DigestReader<R> {
    inner: R,
    hasher: Sha256,
    read: u64,
    expected_size: u64,
    progress: Progress,
    cancelled: CancellationToken,
    failure: Option<SourceFailure>,
}

/// Why a source stopped giving bytes, kept because decoders in between reword errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceFailure(pub(crate) String);

impl<R> DigestReader<R> {
    pub(crate) fn new(
        inner: R,
        expected_size: u64,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            read: 0,
            expected_size,
            progress,
            cancelled,
            failure: None,
        }
    }

    /// How the source failed, if it did.
    pub(crate) fn failure(&self) -> Option<&SourceFailure> {
        self.failure.as_ref()
    }

    /// After the end: checks size and hash against `sha256:…`; the error says what was found.
    pub(crate) fn finish(self, digest: &str) -> Result<(), String> {
        if self.read != self.expected_size {
            return Err(format!(
                "{} bytes instead of {}",
                self.read, self.expected_size
            ));
        }
        let found = hex(&self.hasher.finalize());
        if digest.strip_prefix("sha256:") == Some(found.as_str()) {
            Ok(())
        } else {
            Err(format!("its content hashes to sha256:{found}"))
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for DigestReader<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.cancelled.is_cancelled() {
            return Poll::Ready(Err(io::Error::other("cancelled")));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => {
                this.failure = Some(SourceFailure(error.to_string()));
                Poll::Ready(Err(error))
            }
            Poll::Ready(Ok(())) => {
                let new = buf.filled().get(before..).unwrap_or_default();
                this.read += new.len() as u64;
                if this.read > this.expected_size {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "blob is longer than its descriptor says",
                    )));
                }
                this.hasher.update(new);
                this.progress.advance(new.len() as u64);
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// Allowance shared between a [`GateReader`] and whoever drives it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<AtomicU64>);

impl Gate {
    /// Sets how many bytes may pass from now on.
    pub(crate) fn allow(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn remaining(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) {
        self.0
            .fetch_sub(bytes.min(self.remaining()), Ordering::Relaxed);
    }
}

/// Passes at most what its [`Gate`] allows; more is an error, not an end. It bounds what a tar
/// parser may swallow as long names and extended headers, which it reads into memory.
pub(crate) struct GateReader<R> {
    inner: R,
    gate: Gate,
}

impl<R> GateReader<R> {
    pub(crate) fn new(inner: R, gate: Gate) -> Self {
        Self { inner, gate }
    }

    pub(crate) fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for GateReader<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let allowed = usize::try_from(this.gate.remaining()).unwrap_or(usize::MAX);
        if allowed == 0 {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "more bytes than this part of an archive may have",
            )));
        }
        let wanted = buf.remaining().min(allowed);
        let mut limited = ReadBuf::new(buf.initialize_unfilled_to(wanted));
        match Pin::new(&mut this.inner).poll_read(cx, &mut limited) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                let read = limited.filled().len();
                buf.advance(read);
                this.gate.take(read as u64);
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// A layer's tar stream behind its compression.
pub(crate) enum LayerReader<R> {
    Plain(BufReader<R>),
    Gzip(Box<GzipDecoder<BufReader<R>>>),
    Zstd(Box<ZstdDecoder<BufReader<R>>>),
}

impl<R: AsyncRead + Unpin> LayerReader<R> {
    pub(crate) fn new(compression: LayerCompression, blob: R) -> Self {
        let blob = BufReader::with_capacity(BLOCK_BYTES, blob);
        match compression {
            LayerCompression::None => Self::Plain(blob),
            LayerCompression::Gzip => {
                let mut decoder = GzipDecoder::new(blob);
                decoder.multiple_members(true);
                Self::Gzip(Box::new(decoder))
            }
            LayerCompression::Zstd => {
                let window = DParameter::window_log_max(WINDOW_LOG);
                let mut decoder = ZstdDecoder::with_params(blob, &[window]);
                decoder.multiple_members(true);
                Self::Zstd(Box::new(decoder))
            }
        }
    }

    /// The compressed blob, with whatever the decoder did not consume still in its buffer.
    pub(crate) fn into_blob(self) -> BufReader<R> {
        match self {
            Self::Plain(blob) => blob,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.into_inner(),
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for LayerReader<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(blob) => Pin::new(blob).poll_read(cx, buf),
            Self::Gzip(decoder) => Pin::new(decoder.as_mut()).poll_read(cx, buf),
            Self::Zstd(decoder) => Pin::new(decoder.as_mut()).poll_read(cx, buf),
        }
    }
}
