//! Response bodies: file parts in large blocks, and the record of what was sent.
//!
//! Invariant: at most one block of a file is in memory for each response, and every answer to a
//! machine is recorded exactly once, when its body ends or is dropped.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, Take};
use tokio_util::io::ReaderStream;

use crate::directory::{BootDirectory, BootMachine};
use crate::event::{BootEvent, BootEventKind};

/// Bytes read from disk at once.
const BLOCK_BYTES: usize = 256 << 10;

/// Opens `length` bytes of a file from `first` on.
pub(crate) async fn open_part(path: &Path, first: u64, length: u64) -> io::Result<Chunks> {
    let mut file = File::open(path).await?;
    if first > 0 {
        file.seek(io::SeekFrom::Start(first)).await?;
    }
    Ok(Chunks::File(ReaderStream::with_capacity(
        file.take(length),
        BLOCK_BYTES,
    )))
}

/// Where a body's bytes come from.
pub(crate) enum Chunks {
    Memory(Option<Bytes>),
    File(ReaderStream<Take<File>>),
}

impl Stream for Chunks {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.get_mut() {
            Self::Memory(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Self::File(stream) => Pin::new(stream).poll_next(cx),
        }
    }
}

/// Writes one [`BootEventKind::HttpDone`] when dropped.
pub(crate) struct Record {
    pub(crate) directory: Arc<dyn BootDirectory>,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) started: Instant,
    pub(crate) machine: Arc<BootMachine>,
    pub(crate) peer: Ipv4Addr,
    /// What was asked for; no tokens.
    pub(crate) file: String,
    pub(crate) status: u16,
    /// Bytes of the body handed to the connection.
    pub(crate) sent: u64,
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.directory.record(event(
            &self.machine,
            self.peer,
            (self.clock)(),
            BootEventKind::HttpDone {
                file: std::mem::take(&mut self.file),
                bytes: self.sent,
                duration_ms,
                status: self.status,
            },
        ));
    }
}

/// An event about a machine that speaks from `peer`.
pub(crate) fn event(
    machine: &BootMachine,
    peer: Ipv4Addr,
    at: Timestamp,
    kind: BootEventKind,
) -> BootEvent {
    let lease = machine.leases.iter().find(|lease| lease.ipv4 == peer);
    BootEvent {
        machine: Some(machine.name.clone()),
        mac: lease.map(|lease| lease.mac),
        ip: Some(peer),
        at,
        kind,
    }
}

/// Chunks with their record.
struct Recorded {
    chunks: Chunks,
    record: Option<Record>,
}

impl Stream for Recorded {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = Pin::new(&mut this.chunks).poll_next(cx);
        if let (Poll::Ready(Some(Ok(bytes))), Some(record)) = (&next, &mut this.record) {
            record.sent += bytes.len() as u64;
        }
        next
    }
}

/// A body of known length; the caller sets `Content-Length`.
pub(crate) fn body(chunks: Chunks, record: Option<Record>) -> Body {
    Body::from_stream(Recorded { chunks, record })
}
