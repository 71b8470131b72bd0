//! How far a fetch is.
//!
//! Counts; decides nothing. Invariant: the callback sees numbers that never fall within one phase.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes between two calls of the callback.
const STEP_BYTES: u64 = 1 << 20;

/// What a fetch is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchPhase {
    /// Reading, verifying and unpacking layers; bytes are compressed layer bytes.
    Layers,
    /// Reading the disk image once to learn its raw size and hash; bytes are compressed bytes.
    Hashing,
}

/// One report of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchProgress {
    /// What is being done.
    pub phase: FetchPhase,
    /// Bytes done in this phase.
    pub bytes: u64,
    /// Bytes of the whole phase.
    pub total_bytes: u64,
}

/// Takes the reports of a fetch; called from a worker thread about once per MiB, must not block.
#[derive(Clone)]
pub struct ProgressSink(Arc<dyn Fn(FetchProgress) + Send + Sync>);

impl ProgressSink {
    /// Wraps a callback.
    pub fn new(callback: impl Fn(FetchProgress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(callback))
    }

    /// For callers that do not care.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }
}

impl fmt::Debug for ProgressSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgressSink")
    }
}

/// Counter of one phase.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    sink: ProgressSink,
    phase: FetchPhase,
    total_bytes: u64,
    bytes: Arc<AtomicU64>,
}

impl Progress {
    pub(crate) fn new(sink: &ProgressSink, phase: FetchPhase, total_bytes: u64) -> Self {
        Self {
            sink: sink.clone(),
            phase,
            total_bytes,
            bytes: Arc::default(),
        }
    }

    /// Adds bytes; reports when a step is complete or everything is done.
    pub(crate) fn advance(&self, new: u64) {
        let before = self.bytes.fetch_add(new, Ordering::Relaxed);
        let bytes = before + new;
        if new > 0 && (before / STEP_BYTES != bytes / STEP_BYTES || bytes >= self.total_bytes) {
            let (phase, total_bytes) = (self.phase, self.total_bytes);
            (self.sink.0)(FetchProgress {
                phase,
                bytes,
                total_bytes,
            });
        }
    }
}
