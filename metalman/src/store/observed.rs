//! One batch of what the boot services saw, written in one transaction.

use super::error::StoreError;
use super::evidence::{self, NewEvidence};
use super::leases_seen::{self, LeaseSeen};
use super::open::{Store, commit};
use super::timeline::{self, NewTimelineEntry};
use super::unknown_macs::{self, UnknownMacSeen};

/// Everything learnt from a batch of events, in order of arrival.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    pub timeline: Vec<NewTimelineEntry>,
    pub evidence: Vec<NewEvidence>,
    pub leases: Vec<LeaseSeen>,
    pub unknown_macs: Vec<UnknownMacSeen>,
}

impl Observed {
    /// Whether there is nothing to write.
    pub const fn is_empty(&self) -> bool {
        self.timeline.is_empty()
            && self.evidence.is_empty()
            && self.leases.is_empty()
            && self.unknown_macs.is_empty()
    }
}

impl Observed {
    /// Machines that something was learnt about.
    pub fn machines(&self) -> impl Iterator<Item = &str> {
        let timeline = self.timeline.iter().map(|entry| entry.machine.as_str());
        let evidence = self.evidence.iter().map(|entry| entry.machine.as_str());
        timeline.chain(evidence)
    }
}

impl Store {
    /// Writes a batch: all of it or nothing.
    pub async fn record(&self, observed: &Observed) -> Result<(), StoreError> {
        if observed.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin("observed.record").await?;
        evidence::insert(&mut tx, &observed.evidence).await?;
        timeline::insert(&mut tx, &observed.timeline).await?;
        leases_seen::insert(&mut tx, &observed.leases).await?;
        unknown_macs::insert(&mut tx, &observed.unknown_macs).await?;
        commit(tx, "observed.record").await
    }
}
