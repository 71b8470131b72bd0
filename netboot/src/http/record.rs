//! What is noted about an answer when it is over: metrics always, an event when a machine asked.
//!
//! Invariant: every answer is noted exactly once, when its [`Record`] is dropped, whether it was
//! sent, broken off or never begun.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use jiff::Timestamp;

use super::boot::Boot;
use crate::directory::BootMachine;
use crate::event::{BootEvent, BootEventKind};
use crate::metrics::HttpKind;

/// Notes how an answer went, when dropped.
pub(crate) struct Record {
    boot: Arc<Boot>,
    started: Instant,
    pub(crate) kind: HttpKind,
    pub(crate) status: StatusCode,
    /// Length of the content that the head announces.
    pub(crate) expected: u64,
    /// Bytes of it that the network has taken.
    pub(crate) sent: u64,
    asker: Option<Asker>,
}

/// The machine whose boot timeline gets a line.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) machine: Arc<BootMachine>,
    pub(crate) peer: Ipv4Addr,
    /// What was asked for; no tokens.
    pub(crate) file: String,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("kind", &self.kind)
            .field("status", &self.status)
            .field("expected", &self.expected)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

impl Record {
    /// A record that begins now and counts in the metrics alone.
    pub(crate) fn new(boot: &Arc<Boot>, kind: HttpKind) -> Self {
        Self {
            boot: Arc::clone(boot),
            started: Instant::now(),
            kind,
            status: StatusCode::INTERNAL_SERVER_ERROR,
            expected: 0,
            sent: 0,
            asker: None,
        }
    }

    /// Also leaves an event of this machine.
    pub(crate) fn tell(&mut self, asker: Asker) {
        self.asker = Some(asker);
    }

    /// Leaves no event after all.
    pub(crate) fn keep_quiet(&mut self) {
        self.asker = None;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let complete = self.sent >= self.expected;
        let metrics = &self.boot.metrics;
        metrics.answered(self.kind, self.status.as_u16(), self.sent, took, complete);
        let Some(asker) = self.asker.take() else {
            return;
        };
        let kind = BootEventKind::HttpDone {
            file: asker.file,
            bytes: self.sent,
            expected: self.expected,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            status: self.status.as_u16(),
        };
        let at = (self.boot.files.clock())();
        let event = event(&asker.machine, asker.peer, at, kind);
        self.boot.directory.record(event);
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
