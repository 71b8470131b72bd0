//! One transfer from request to event: the only place where session, file and socket meet.
//!
//! Invariant: whatever happens, the client gets its answer or an ERROR, the owner exactly one event
//! when the client is a machine of ours and something was really asked for, and the metrics one
//! outcome.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    packet::{self, DATA_HEADER, ErrorCode},
    reader::Reader,
    request::{OptionLimits, ReadRequest},
    session::{Outcome, Session, Transmit},
    socket,
};
use crate::{
    directory::BootDirectory,
    event::{BootEvent, BootEventKind},
    metrics::TftpMetrics,
    source::{FileSource, SourceError},
};

/// Longest time to find and render a file. The client asks again every second or so.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// What all transfers share.
pub(crate) struct Shared {
    pub(crate) directory: Arc<dyn BootDirectory>,
    pub(crate) source: Arc<dyn FileSource>,
    pub(crate) limits: OptionLimits,
    pub(crate) metrics: TftpMetrics,
    pub(crate) clock: fn() -> Timestamp,
}

/// One accepted request.
pub(crate) struct Transfer {
    pub(crate) request: ReadRequest,
    pub(crate) peer: SocketAddrV4,
    pub(crate) local: Ipv4Addr,
    /// Cancelled when the client starts over or the server stops.
    pub(crate) stop: CancellationToken,
    /// Set once the client has acknowledged anything.
    pub(crate) established: Arc<AtomicBool>,
}

/// How a transfer ended, beyond what the session knows.
#[derive(Debug)]
enum End {
    Session(Outcome),
    NotOpened(SourceError),
    OpenTimedOut,
    Read(io::Error),
    Send(io::Error),
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
            Self::Stopped => "stopped",
        }
    }

    /// The ERROR the client is told, where it still listens.
    fn error_packet(&self) -> Option<Vec<u8>> {
        let (code, text) = match self {
            Self::Session(_) | Self::Send(_) => return None,
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
    /// Runs to the end and reports it.
    pub(crate) async fn run(self, shared: Arc<Shared>) {
        let begun = Instant::now();
        let socket = match socket::connect(self.local, self.peer).await {
            Ok(socket) => socket,
            Err(error) => {
                debug!(peer = %self.peer, %error, "could not open a port for a transfer");
                shared.metrics.outcome("no_port");
                return;
            }
        };
        let (end, session) = self.serve(&shared, &socket).await;
        if let Some(error) = end.error_packet()
            && let Err(error) = socket.send(&error).await
        {
            debug!(peer = %self.peer, %error, "could not send a TFTP error");
        }
        self.report(&shared, &end, session.as_ref(), begun.elapsed());
    }

    async fn serve(&self, shared: &Shared, socket: &UdpSocket) -> (End, Option<Session>) {
        let open = shared.source.open(*self.peer.ip(), &self.request.path);
        let content = tokio::select! {
            () = self.stop.cancelled() => return (End::Stopped, None),
            opened = tokio::time::timeout(OPEN_TIMEOUT, open) => match opened {
                Err(_elapsed) => return (End::OpenTimedOut, None),
                Ok(Err(error)) => return (End::NotOpened(error), None),
                Ok(Ok(content)) => content,
            },
        };
        let length = content.length();
        let granted = self.request.grant(shared.limits, length);
        let mut reader = match Reader::open(content).await {
            Ok(reader) => reader,
            Err(error) => return (End::Read(error), None),
        };
        let mut session = Session::new(Instant::now(), length, granted);
        let end = self
            .exchange(shared, socket, &mut reader, &mut session)
            .await;
        (end, Some(session))
    }

    async fn exchange(
        &self,
        shared: &Shared,
        socket: &UdpSocket,
        reader: &mut Reader,
        session: &mut Session,
    ) -> End {
        let mut out = Vec::with_capacity(DATA_HEADER + usize::from(session.sizes().0));
        let mut heard = [0_u8; 512];
        loop {
            while let Some(transmit) = session.poll_transmit(Instant::now()) {
                if let Err(error) = fill(&mut out, reader, transmit).await {
                    return End::Read(error);
                }
                match socket.send(&out).await {
                    Ok(length) => {
                        let data = length.saturating_sub(DATA_HEADER);
                        shared
                            .metrics
                            .sent
                            .inc_by(u64::try_from(data).unwrap_or_default());
                    }
                    Err(error) if is_refused(&error) => closed(socket, session, &mut heard),
                    Err(error) => return End::Send(error),
                }
            }
            if let Some(outcome) = session.outcome() {
                return End::Session(outcome.clone());
            }
            let deadline = session.poll_timeout().unwrap_or_else(Instant::now);
            tokio::select! {
                () = self.stop.cancelled() => return End::Stopped,
                () = tokio::time::sleep_until(deadline.into()) => session.on_timeout(Instant::now()),
                received = socket.recv(&mut heard) => match received {
                    Ok(length) => hear(socket, session, &mut heard, length),
                    Err(error) if is_refused(&error) => closed(socket, session, &mut heard),
                    Err(error) => return End::Send(error),
                },
            }
            if session.is_established() {
                self.established.store(true, Ordering::Relaxed);
            }
        }
    }

    fn report(&self, shared: &Shared, end: &End, session: Option<&Session>, took: Duration) {
        shared.metrics.outcome(end.label());
        let retransmits = session.map_or(0, Session::retransmits);
        shared.metrics.retransmits.inc_by(u64::from(retransmits));
        let file = self.request.path.trim_start_matches('/').to_owned();
        debug!(
            peer = %self.peer,
            file,
            outcome = end.label(),
            duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            retransmits,
            "ended a TFTP transfer"
        );
        let failed = |reason: String| BootEventKind::TftpFailed {
            file: file.clone(),
            reason,
        };
        let bytes = session.map_or(0, Session::acknowledged_bytes);
        let kind = match end {
            End::Session(Outcome::Done) => {
                shared.metrics.duration.observe(took.as_secs_f64());
                let (blksize, windowsize) = session.map_or((0, 0), Session::sizes);
                BootEventKind::TftpDone {
                    file,
                    bytes,
                    duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                    blksize,
                    windowsize,
                    retransmits,
                }
            }
            End::Session(Outcome::Probed) => return,
            End::Session(Outcome::Aborted { code, message }) => failed(format!(
                "aborted by the client after {bytes} bytes: {message} ({code})"
            )),
            End::Session(Outcome::TimedOut) => {
                failed(format!("the client fell silent after {bytes} bytes"))
            }
            End::NotOpened(error) => failed(error.to_string()),
            End::OpenTimedOut => failed("the file was not ready in time".into()),
            End::Read(error) => failed(format!("cannot read the file: {error}")),
            End::Send(error) => failed(format!("cannot send: {error}")),
            End::Stopped => failed(format!("stopped after {bytes} bytes")),
        };
        let Some(machine) = shared.directory.by_ip(*self.peer.ip()) else {
            return;
        };
        let mac = machine
            .leases
            .iter()
            .find(|lease| lease.ipv4 == *self.peer.ip())
            .map(|l| l.mac);
        shared.directory.record(BootEvent {
            machine: Some(machine.name.clone()),
            mac,
            ip: Some(*self.peer.ip()),
            at: (shared.clock)(),
            kind,
        });
    }
}

/// Feeds the session one datagram and all that wait behind it, so that it answers the newest.
fn hear(socket: &UdpSocket, session: &mut Session, buffer: &mut [u8], length: usize) {
    let mut length = Some(length);
    while let Some(received) = length {
        session.on_datagram(Instant::now(), buffer.get(..received).unwrap_or_default());
        length = socket::receive_pending(socket, buffer);
    }
}

/// The client has closed its port; what it said before that still counts.
fn closed(socket: &UdpSocket, session: &mut Session, buffer: &mut [u8]) {
    if let Some(length) = socket::receive_pending(socket, buffer) {
        hear(socket, session, buffer, length);
    }
    session.on_unreachable();
}

async fn fill(out: &mut Vec<u8>, reader: &mut Reader, transmit: Transmit) -> io::Result<()> {
    out.clear();
    match transmit {
        Transmit::Packet(packet) => out.extend(packet),
        Transmit::Data {
            block,
            offset,
            length,
        } => {
            out.extend(packet::data_header(block));
            out.extend(reader.read(offset, usize::from(length)).await?);
        }
    }
    Ok(())
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}
