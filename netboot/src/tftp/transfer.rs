//! One transfer: what it is, how it ends, what the client and the owner are told then.
//!
//! Invariant: whatever happens, the client gets its answer or an ERROR, the owner exactly one event
//! when the client is a machine of ours and something was really asked for, and the metrics one
//! outcome.

use std::{
    io,
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use tracing::debug;

use super::{
    content::{ChunkKey, Content},
    packet::{self, ErrorCode},
    request::ReadRequest,
    server::Shared,
    session::{Outcome, Session, Transmit},
    table::Entry,
};
use crate::{
    event::{BootEvent, BootEventKind},
    source::SourceError,
};

/// An accepted request.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) request: ReadRequest,
    pub(super) peer: SocketAddrV4,
    /// Index of our port.
    pub(super) port: usize,
    pub(super) since: Instant,
    /// Once the file is open.
    pub(super) running: Option<Box<Running>>,
    /// The time it waits for in the queue of times.
    pub(super) timer: Option<Instant>,
}

/// A transfer whose file is open.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) session: Session,
    pub(super) content: Content,
    /// A block that waits for the disk.
    pub(super) stalled: Option<(Transmit, ChunkKey)>,
}

impl Entry for Transfer {
    fn peer(&self) -> SocketAddrV4 {
        self.peer
    }

    fn is_followed(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.session.is_established())
    }
}

/// How a transfer ended, beyond what the session knows.
#[derive(Debug)]
pub(super) enum End {
    Session(Outcome),
    NotOpened(SourceError),
    OpenTimedOut,
    Read(io::Error),
    Send(io::Error),
    /// The client asked anew from the same port.
    StartedOver,
    /// Never followed, and its place was needed.
    GaveWay,
    Stopped,
}

impl End {
    fn label(&self) -> &'static str {
        match self {
            Self::Session(outcome) => outcome.label(),
            Self::NotOpened(error) => error.reason(),
            Self::OpenTimedOut => "open_timed_out",
            Self::Read(_) => "read_failed",
            Self::Send(_) => "send_failed",
            Self::StartedOver => "started_over",
            Self::GaveWay => "gave_way",
            Self::Stopped => "stopped",
        }
    }

    /// The ERROR the client is told, where it still listens.
    pub(super) fn error_packet(&self) -> Option<Vec<u8>> {
        let (code, text) = match self {
            Self::Session(_) | Self::Send(_) | Self::StartedOver | Self::GaveWay => return None,
            Self::NotOpened(error) => match error {
                SourceError::NotFound { .. } => (ErrorCode::FileNotFound, error.to_string()),
                SourceError::UnknownPeer { .. } | SourceError::Refused { .. } => {
                    (ErrorCode::AccessViolation, error.to_string())
                }
                SourceError::NotReady { .. } | SourceError::Failed { .. } => {
                    (ErrorCode::NotDefined, error.to_string())
                }
            },
            Self::OpenTimedOut => (
                ErrorCode::NotDefined,
                "the file was not ready in time".into(),
            ),
            Self::Read(_) => (ErrorCode::NotDefined, "the file could not be read".into()),
            Self::Stopped => (ErrorCode::NotDefined, "the transfer was stopped".into()),
        };
        Some(packet::error(code, &text))
    }
}

impl Transfer {
    /// Tells metrics, log and owner how it ended.
    pub(super) fn report(&self, shared: &Shared, end: &End, took: Duration) {
        let session = self.running.as_ref().map(|running| &running.session);
        shared.metrics.outcome(end.label());
        let retransmits = session.map_or(0, Session::retransmits);
        shared.metrics.retransmits.inc_by(u64::from(retransmits));
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let file = self.request.path.trim_start_matches('/');
        debug!(
            peer = %self.peer,
            file,
            outcome = end.label(),
            duration_ms,
            retransmits,
            "ended a TFTP transfer"
        );
        if matches!(
            end,
            End::Session(Outcome::Unacknowledged { .. }) | End::StartedOver
        ) && let Some(kind) = self.sent_whole(file)
        {
            return self.tell(shared, kind);
        }
        let bytes = session.map_or(0, Session::acknowledged_bytes);
        let reason = match end {
            End::Session(Outcome::Done) => {
                shared.metrics.duration.observe(took.as_secs_f64());
                let (blksize, windowsize) = session.map_or((0, 0), Session::sizes);
                let kind = BootEventKind::TftpDone {
                    file: file.to_owned(),
                    bytes,
                    duration_ms,
                    blksize,
                    windowsize,
                    retransmits,
                };
                return self.tell(shared, kind);
            }
            // The size was all it wanted, or it asked again at once and that is reported instead.
            End::Session(Outcome::Probed) | End::GaveWay => return,
            End::StartedOver if bytes == 0 => return,
            End::Session(Outcome::Aborted { code, message }) => {
                format!("aborted by the client after {bytes} bytes: {message} ({code})")
            }
            End::Session(Outcome::TimedOut | Outcome::Unacknowledged { .. }) => {
                format!("the client fell silent after {bytes} bytes")
            }
            End::Session(Outcome::Gone) => {
                format!("the client closed its port after {bytes} bytes (ICMP port unreachable)")
            }
            End::NotOpened(error) => error.to_string(),
            End::OpenTimedOut => "the file was not ready in time".into(),
            End::Read(error) => format!("cannot read the file: {error}"),
            End::Send(error) => format!("cannot send: {error}"),
            End::StartedOver => format!("the client started over after {bytes} bytes"),
            End::Stopped => format!("stopped after {bytes} bytes"),
        };
        let file = file.to_owned();
        self.tell(shared, BootEventKind::TftpFailed { file, reason });
    }

    /// The event of a transfer that lacks nothing but the acknowledgement of its last blocks.
    fn sent_whole(&self, file: &str) -> Option<BootEventKind> {
        let session = &self.running.as_ref()?.session;
        let unacknowledged_blocks = session.unacknowledged()?;
        let took = session.progressed().duration_since(self.since);
        let (blksize, windowsize) = session.sizes();
        Some(BootEventKind::TftpUnacknowledged {
            file: file.to_owned(),
            bytes: session.length(),
            unacknowledged_blocks,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            blksize,
            windowsize,
            retransmits: session.retransmits(),
        })
    }

    fn tell(&self, shared: &Shared, kind: BootEventKind) {
        let ip = *self.peer.ip();
        let Some(machine) = shared.directory.by_ip(ip) else {
            return;
        };
        let lease = machine.leases.iter().find(|lease| lease.ipv4 == ip);
        shared.directory.record(BootEvent {
            machine: Some(machine.name.clone()),
            mac: lease.map(|lease| lease.mac),
            ip: Some(ip),
            at: (shared.clock)(),
            kind,
        });
    }
}
