//! What the pages show: a port, and the rows it hands over. Not the domain's types: these are
//! already words and numbers for people.

use std::error::Error;

use async_trait::async_trait;
use jiff::Timestamp;
use metalman_api::machine::MachinePhase;
use metalman_api::operation::Phase;
use serde::Serialize;
use tokio::sync::watch;

use crate::store::TimelineEntry;

/// What the pages ask for. The list and the facts answer from memory and never block.
#[async_trait]
pub trait SiteView: Send + Sync + 'static {
    /// Name of the site.
    fn site(&self) -> String;

    /// All machines of the site, in any order.
    fn machines(&self) -> Vec<MachineRow>;

    /// One machine, or `None` when the site has no such machine.
    fn machine(&self, name: &str) -> Option<MachineFacts>;

    /// Up to `limit` timeline entries, newest first; `before` is the id to page back from.
    async fn timeline(
        &self,
        machine: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<TimelineEntry>, ViewError>;

    /// Network cards that asked for an address and belong to no Machine, last seen first.
    async fn discovered(&self) -> Result<Vec<Card>, ViewError>;

    /// Counts changes of anything shown. Pages are told at most a few times a second, however
    /// often it changes; the stream to a browser ends when the sender is dropped.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// The site cannot be shown just now.
#[derive(Debug, thiserror::Error)]
#[error("the site's data cannot be read")]
pub struct ViewError(#[source] pub Box<dyn Error + Send + Sync>);

impl From<crate::store::StoreError> for ViewError {
    fn from(error: crate::store::StoreError) -> Self {
        Self(Box::new(error))
    }
}

/// Power as read back from the BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    On,
    Off,
    PoweringOn,
    PoweringOff,
    /// Not read yet, or the BMC does not answer.
    Unknown,
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MachineRow {
    pub name: String,
    pub power: Power,
    pub phase: MachinePhase,
    pub operation: Option<RunningOperation>,
    /// When anything was last heard of it: DHCP, a file, a report.
    pub last_seen: Option<Timestamp>,
    /// What an operator must look at, with its cure; shown in red.
    pub problem: Option<String>,
}

/// An operation under way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunningOperation {
    pub name: String,
    /// `HostReplace`, …
    pub kind: String,
    /// Stage in words, for example `Writing the image`.
    pub stage: String,
    /// 0–100, when the stage has a measure.
    pub percent: Option<u8>,
    /// What it waits for, as in "waits for …".
    pub waits_for: Option<String>,
    /// When it stops waiting.
    pub deadline: Option<Timestamp>,
}

/// A network card that nobody owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Card {
    pub mac: String,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// How often it asked.
    pub count: i64,
    /// Firmware and processor, for example `x86-64 UEFI PXE`.
    pub arch: Option<String>,
    pub vendor_class: Option<String>,
    /// Address of the relay it asked through.
    pub relay: Option<String>,
    /// Port of the switch, as that relay says it.
    pub circuit_id: Option<String>,
    /// A Machine that would own it, for `kubectl apply`.
    pub yaml: String,
}

/// The page of one machine, apart from its timeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MachineFacts {
    pub row: MachineRow,
    pub facts: Vec<Fact>,
    /// Ended operations, newest first.
    pub operations: Vec<PastOperation>,
}

/// One labelled value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    pub label: String,
    pub value: String,
}

/// An operation that ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PastOperation {
    pub name: String,
    pub kind: String,
    pub phase: Phase,
    pub message: Option<String>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}
