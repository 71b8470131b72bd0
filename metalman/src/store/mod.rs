//! What a site keeps between restarts: last site view, operation journal, evidence, timeline.
//!
//! One set of SQL serves SQLite and PostgreSQL: `$1` placeholders, TEXT for JSON, BIGINT
//! microseconds since the epoch (UTC) for times. It is not the owner of intent: that is Kubernetes.
//! Invariant: transactions begin and end inside this module, never around a call to anything else.

mod api_tokens;
mod audit;
mod batch;
mod bmc;
mod bmc_readings;
mod boots;
mod columns;
mod error;
mod evidence;
mod ids;
mod leases_seen;
mod observed;
pub(crate) mod open;
mod outbox;
mod owner;
pub(crate) mod rows;
mod site_objects;
mod targets;
#[cfg(test)]
mod tests;
mod timeline;
mod tokens;
mod unknown_macs;

pub use api_tokens::{ApiToken, ApiTokens, TokenRole};
pub use audit::{AuditEntry, AuditLog, NewAuditEntry};
pub use bmc::{BmcMemory, BmcPin, RefusedCredential};
pub use bmc_readings::{BmcReadingRow, BmcReadings};
pub use boots::{BootCapability, BootLog, BootSighting, NewCapability, RecordedBoot};
pub use error::StoreError;
pub use evidence::{Evidence, EvidenceKind, EvidenceLog, NewEvidence};
pub use leases_seen::{LeaseSeen, LeasesSeen};
pub use observed::Observed;
pub use open::{Backend, Store};
pub use outbox::{Action, ActionOutcome, ActionState, FinishedAction, NewAction, Outbox};
pub use owner::Ownership;
pub use site_objects::{BootLines, SiteObject, SiteObjects, SiteVersion};
pub use targets::{CommitTarget, Committed, HistoryEntry, Target, Targets};
pub use timeline::{NewTimelineEntry, Timeline, TimelineEntry, TimelineSource};
pub use tokens::{ClaimOutcome, InstallToken, InstallTokens, NewToken, TokenChange};
pub use unknown_macs::{UnknownMac, UnknownMacSeen, UnknownMacs};
