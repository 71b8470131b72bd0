//! What a BMC counts: the figures a test or a load run is judged by.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counters of one BMC since it started or was cleared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections accepted, and those of them that came through TLS.
    pub connections: u64,
    pub handshakes: u64,
    pub requests: u64,
    pub by_status: BTreeMap<u16, u64>,
    pub sessions_opened: u64,
    /// Deleted by the client.
    pub sessions_closed: u64,
    /// Ended by time or by a restart of the BMC.
    pub sessions_lost: u64,
    /// Most that were open at one time.
    pub sessions_peak: usize,
    /// Logins and Basic headers with a wrong user or password, or while locked.
    pub logins_refused: u64,
    pub lockouts: u64,
    /// Resets accepted, by type.
    pub resets: BTreeMap<&'static str, u64>,
    pub powered_on: u64,
    pub powered_off: u64,
    pub restarts: u64,
}

impl Counters {
    /// Adds the figures of another BMC; the peak is that of the worst.
    pub(crate) fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.handshakes += other.handshakes;
        self.requests += other.requests;
        for (status, times) in &other.by_status {
            *self.by_status.entry(*status).or_default() += times;
        }
        self.sessions_opened += other.sessions_opened;
        self.sessions_closed += other.sessions_closed;
        self.sessions_lost += other.sessions_lost;
        self.sessions_peak = self.sessions_peak.max(other.sessions_peak);
        self.logins_refused += other.logins_refused;
        self.lockouts += other.lockouts;
        for (reset, times) in &other.resets {
            *self.resets.entry(reset).or_default() += times;
        }
        self.powered_on += other.powered_on;
        self.powered_off += other.powered_off;
        self.restarts += other.restarts;
    }
}
